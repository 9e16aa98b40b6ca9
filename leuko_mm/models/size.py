"""How large a model is: its parameters, and the multiply-adds of one image."""

from __future__ import annotations

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


def multiply_adds(model: nn.Module, size: int) -> float:
    """Return the multiply-adds of one image, in 10^9.

    Convolutions and matrix products count; norms, activations and enlargements, about
    one in a hundred, do not.

    Args:
        model: a segmentor; it is left as it was.
        size: side of the square image, in pixels.
    """
    try:
        return _count(copy.deepcopy(model).to("meta").eval(), size)
    except RuntimeError:
        # It needs values, not shapes alone.
        return _count(copy.deepcopy(model).eval(), size)


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
    model = build_bare(config, device="meta")
    return dict(
        params_m=count_parameters(model),
        gmacs=round(multiply_adds(model, size), 3),
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
