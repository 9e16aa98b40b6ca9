"""How large a model is: its parameters, and the multiply-adds of one image."""

from __future__ import annotations

import contextlib
import copy
import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def build_bare(config: Config, *, device: str = "cpu") -> nn.Module:
    """Return a config's model, with no file of weights read.

    Args:
        config: with a ``model``.
        device: ``meta`` gives shapes without values, at no cost; a model that needs
            values while it is built is on the CPU all the same.
    """
    with DefaultScope.overwrite_default_scope("mmseg"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device(device):
                # A copy: building removes keys.
                return MODELS.build(copy.deepcopy(config.model))
        except RuntimeError:
            if device == "cpu":
                raise
            return MODELS.build(copy.deepcopy(config.model))


def multiply_adds(config: Config, size: int) -> float | None:
    """Return the multiply-adds of one image, in 10^9; None if counting them fails.

    Convolutions and matrix products count; norms, activations and enlargements, about
    one in a hundred, do not.

    Args:
        config: with a ``model``, which is built for this.
        size: side of the square image, in pixels.
    """
    # A model may need values, not shapes alone.
    for device in ("meta", "cpu"):
        # Parts of the user's may raise anything.
        with contextlib.suppress(Exception):
            return round(_count(build_bare(config, device=device).eval(), size), 3)
    return None


def _count(model: nn.Module, size: int) -> float:
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, size, size, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    # The counter counts a multiply-add as two operations.
    return counter.get_total_flops() / 2e9


def model_size(config: Config, size: int) -> dict:
    """Return size, cost and start of a config's model.

    ``params_m`` in millions, ``gmacs`` in 10^9 multiply-adds, ``pretrained`` the name
    of the encoder's weights or None.

    Args:
        config: with a ``model``.
        size: side of the square image, in pixels.
    """
    return dict(
        params_m=count_parameters(build_bare(config, device="meta")),
        gmacs=multiply_adds(config, size),
        pretrained=named_weights(config),
    )


def count_parameters(model: nn.Module) -> float:
    """Return a model's parameters in millions."""
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 3)


def named_weights(config: Config) -> str | None:
    """Return the name of the weights that a model starts from, None for random ones.

    Those of its encoder, or the file of a trained model.
    """
    whole = config.model.get("init_cfg") or {}
    if isinstance(whole, dict) and whole.get("checkpoint"):
        return Path(whole["checkpoint"]).name
    encoder = config.model.get("backbone", {}).get("init_cfg") or {}
    return encoder.get("checkpoint") if isinstance(encoder, dict) else None
