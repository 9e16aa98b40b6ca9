"""Optimiser steps in one pass over the weights."""

from __future__ import annotations

from torch.optim import Adam, AdamW, Optimizer

DEVICES = ("cpu", "cuda")
# What Adam and AdamW have where nothing was asked for.
USUAL = dict(fused=None, foreach=None, capturable=False, differentiable=False)


def fuse_step(optimizer: Optimizer) -> bool:
    """Let Adam or AdamW change each weight in one pass; say whether it does.

    The usual form passes over all of them once for each operation, which on a CPU
    takes about four times as long; the numbers agree but for rounding. What was asked
    for (``fused``, ``foreach``, ``capturable`` or ``differentiable``) is left as it is,
    and so is an optimiser that has begun: a training goes on as it was.

    Args:
        optimizer: changed in place.

    Example:
        >>> import torch
        >>> weights = [torch.zeros(3, requires_grad=True)]
        >>> fuse_step(AdamW(weights)), fuse_step(torch.optim.SGD(weights, lr=0.1))
        (True, False)
    """
    groups = optimizer.param_groups
    weights = [weight for group in groups for weight in group["params"]]
    fits = (
        type(optimizer) in (Adam, AdamW)
        and not optimizer.state
        and all(weight.device.type in DEVICES for weight in weights)
        and all(weight.is_floating_point() for weight in weights)
        # Not by truth: False is asked for, too.
        and all(group[key] is usual for group in groups for key, usual in USUAL.items())
    )
    if fits:
        optimizer.defaults["fused"] = True
        for group in groups:
            group["fused"] = True
    return fits
