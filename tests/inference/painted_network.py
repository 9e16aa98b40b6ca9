"""A network whose answer is known, and checkpoints of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.registry import MODELS

WHITE = (235, 235, 235)
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]


@MODELS.register_module(force=True)
class PaintedColourNetwork(nn.Module):
    """Take every pixel for the class whose colour it is nearest to; white is none."""

    def __init__(self, decode_head: dict, data_preprocessor: dict):
        super().__init__()
        colours = torch.tensor((WHITE, *CLASS_COLOURS[1:]), dtype=torch.float32)
        mean, std = (torch.tensor(data_preprocessor[k]) for k in ("mean", "std"))
        self.colours = nn.Parameter((colours - mean) / std)
        self.register_buffer("std", std / 255)

    def encode_decode(self, inputs, batch_img_metas):
        """Return logits (B, C, H, W)."""
        apart = inputs.float()[:, None] - self.colours[None, :, :, None, None]
        return -30 * (apart * self.std[:, None, None]).pow(2).sum(dim=2)


def write_checkpoint(folder: Path, model: dict, tensors: dict, **changes) -> Path:
    """Write tensors and the sidecar of a model; return the file of tensors."""
    path = folder / "net.pth"
    torch.save(tensors, path)
    preprocessor = model.get("data_preprocessor", {})
    sidecar = dict(
        schema=1,
        method="painted",
        config=dict(classes=list(CLASS_NAMES), model=model),
        classes=list(CLASS_NAMES),
        colours=[list(colour) for colour in CLASS_COLOURS],
        scale=dict(px_per_um=None, rbc_px=20.0, cell_px=128),
        enhance=None,
        normalisation={k: preprocessor.get(k) for k in ("mean", "std", "bgr_to_rgb")},
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    sidecar.update(changes)
    path.with_suffix(".json").write_text(json.dumps(sidecar), encoding="utf-8")
    return path


def painted_model() -> dict:
    """Return the config of the painted network."""
    return dict(
        type="leuko_mm.PaintedColourNetwork",
        decode_head=dict(num_classes=6),
        data_preprocessor=dict(mean=MEAN, std=STD, bgr_to_rgb=True),
    )


def paint(labels: np.ndarray) -> np.ndarray:
    """Return an image whose colours tell the labels."""
    return np.array([WHITE, *CLASS_COLOURS[1:]], np.uint8)[labels]
