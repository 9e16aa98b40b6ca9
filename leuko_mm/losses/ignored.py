"""Ignored pixels in losses."""

from __future__ import annotations

import torch
from torch import Tensor


def split_ignored(
    logits: Tensor, target: Tensor, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Set ignored pixels to 0 in logits and target.

    Args:
        logits: (B, C, *), any float type.
        target: (B, *), integer labels.
        ignore_index: label of pixels that must not count; None: none.

    Shape:
        Returns (logits, target, valid): float32 logits and int64 target of the same
        shapes, both 0 at ignored pixels, so that nothing there (a NaN, a label out of
        range) reaches value or gradient; ``valid`` is (B, *) bool.

    Raises:
        ValueError: if the shapes do not fit, there are fewer than two channels, or
            a label that counts has no channel.
    """
    channels = logits.shape[1] if logits.dim() > 1 else 0
    if channels < 2:
        raise ValueError(
            f"the loss got logits of shape {tuple(logits.shape)}; a softmax needs "
            "(B, C, ...) with at least two classes: set out_channels to num_classes"
        )
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"the loss got logits of shape {tuple(logits.shape)} and a target of shape "
            f"{tuple(target.shape)}; expected (B, C, ...) and (B, ...)"
        )
    target = target.long()
    valid = torch.ones_like(target, dtype=torch.bool)
    if ignore_index is not None:
        valid = target != ignore_index
    target = target.masked_fill(~valid, 0)
    if target.numel():
        low, high = (int(v) for v in target.aminmax())
        if low < 0 or high >= channels:
            raise ValueError(
                f"the target holds label {low if low < 0 else high}, but the logits "
                f"have classes 0 to {channels - 1} (ignored: {ignore_index}); check "
                "the masks and num_classes"
            )
    logits = logits.float().masked_fill(~valid.unsqueeze(1), 0.0)
    return logits, target, valid
