"""A small CBAM U-Net and its export, for whoever tests what runs exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoint import write_tiny
from tiny_run import write_config
from torch import nn

from leuko_mm.engine.checkpoints import write_checkpoint
from leuko_mm.inference.model import read_checkpoint


def need_exports() -> None:
    """Skip where the libraries that export and run exports are not installed."""
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")


def write_uneven(folder: Path) -> Path:
    """Write a checkpoint whose batch norms do something; return its file."""
    path = folder / "net.pth"
    sidecar = write_tiny(path, write_config(folder))
    model = read_checkpoint(path).model
    uneven(model)
    write_checkpoint(path, model, sidecar)
    return path


def uneven(model: nn.Module) -> None:
    """Give batch norms numbers as a training leaves them."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
