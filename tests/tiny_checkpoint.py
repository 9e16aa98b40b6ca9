"""A small checkpoint of ours with a complete sidecar, as a training leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmengine.config import Config

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.engine.checkpoints import write_checkpoint
from leuko_mm.models.size import build_bare
from leuko_mm.training.config import resolve_config

METRICS = dict(mIoU=50.0, pixel_accuracy=90.0, mIoU_fg=None)
TRAINING = dict(dataset="synthetic", sha256="0" * 64, split="fold5", seed=0)
TRAINING |= dict(iterations=2, git=None)


def write_tiny(path: Path, config_file: Path) -> dict:
    """Write a checkpoint of a config's network; return its sidecar."""
    config = resolve_config(str(config_file))
    torch.manual_seed(0)
    model = config.model.to_dict()
    classes = list(CLASS_NAMES)
    preprocessor = model["data_preprocessor"]
    sidecar = dict(
        method="quickstart",
        config=dict(classes=classes, model=model, data_preprocessor=preprocessor),
        classes=classes,
        colours=[list(colour) for colour in CLASS_COLOURS],
        scale=dict(px_per_um=None, rbc_px=None, cell_px=32),
        enhance=None,
        normalisation={k: preprocessor[k] for k in ("mean", "std", "bgr_to_rgb")},
        training=dict(TRAINING),
        metrics=METRICS,
        licence="Apache-2.0",
    )
    network = build_bare(Config(dict(model=model)))
    return write_checkpoint(path, network, json.loads(json.dumps(sidecar)))


def rewrite(path: Path, **changes) -> None:
    """Change keys of a checkpoint's sidecar."""
    place = path.with_suffix(".json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))
