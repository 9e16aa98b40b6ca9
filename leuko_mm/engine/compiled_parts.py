"""Encoder, neck and decoder compiled by ``torch.compile``."""

from __future__ import annotations

import torch
from torch import nn

PARTS = ("backbone", "neck", "decode_head")


def compile_parts(model: nn.Module) -> list[str]:
    """Compile the forward pass of a segmentor's parts, in place; return their names.

    The whole step cannot be compiled: samples and losses of mmengine are no tensors.
    Weights, their names and what the optimiser holds stay. Compiling happens in the
    first iterations, and again where a thaw changes which gradients are wanted.

    Args:
        model: a segmentor, not wrapped.

    Example:
        >>> compile_parts(nn.Linear(2, 2))
        []
    """
    found = [
        name for name in PARTS if isinstance(getattr(model, name, None), nn.Module)
    ]
    for name in found:
        part = getattr(model, name)
        # Not ``part.compile``: a loss calls its head's ``forward`` by name.
        # Trainings have images of one size; symbolic ones break the code generator.
        part.forward = torch.compile(part.forward, dynamic=False)
    return found
