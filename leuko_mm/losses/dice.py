"""Soft Dice over the batch and over all processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from leuko_mm.losses.ignored import split_ignored

ABSENT_POLICIES = ("ignore", "smooth")


def check_dice(owner: str, smooth: float, absent: str) -> None:
    """Refuse options of the Dice loss; ``owner`` was given them."""
    if absent not in ABSENT_POLICIES:
        raise ValueError(
            f"{owner} got absent={absent!r}; choose one of {ABSENT_POLICIES}"
        )
    if not smooth > 0:
        raise ValueError(
            f"{owner} got smooth={smooth}; give more than 0, or a class without a "
            "pixel would be 0 / 0"
        )


def sum_over_processes(local: Tensor) -> Tensor:
    """Add a tensor over all processes, with the gradient that DDP expects.

    The gradient flows to this process's part only, times the number of processes, so
    that DDP's mean is the gradient of one process with all the data, provided that
    every process derives the same loss from the sum.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return local
    total = local.detach().clone()
    distributed.all_reduce(total)
    return total + distributed.get_world_size() * (local - local.detach())


def soft_dice_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None = 255,
    smooth: float = 1e-5,
    absent: str = "ignore",
    include_background: bool = True,
    weight: Tensor | None = None,
) -> Tensor:
    """Return 1 - mean over classes of (2 I + smooth) / (P + T + smooth).

    For a class, I is the sum of its softmax over its own pixels, P the sum of its
    softmax and T its number of pixels, each over all valid pixels of the batch and
    of all processes (every process must call this the same number of times).

    ``absent`` decides about a class with T = 0. ``ignore``: the mean is over the
    classes with T > 0, so a right and certain prediction costs about 0 whatever is
    absent. Probability given falsely to an absent class then lowers I of the class that
    is there (and counts in the focal loss); with ``include_background=False``, over
    background pixels in the focal loss only. ``smooth``: the mean is over all classes;
    an absent class scores smooth / (P + smooth), near 0 as soon as P exceeds
    ``smooth``.

    Args:
        logits: (B, C, *).
        target: (B, *) integer labels.
        ignore_index: label of pixels that count nowhere; None: none.
        smooth: added to numerator and denominator, in pixels; above 0.
        absent: ``ignore`` or ``smooth``.
        include_background: count class 0 in the mean.
        weight: (B, *) factor a pixel on I, P and T.

    Shape:
        (B, C, *), (B, *) -> scalar float32; 0 when no pixel is valid.

    Raises:
        ValueError: as ``split_ignored``; if ``absent`` is unknown or ``smooth`` is 0.

    Reference:
        Milletari et al., V-Net, 3DV 2016; Zhu et al., eq. 4-5. Differs: sums of
        probabilities, not of their squares; eq. 5 counts hard TP, FP and FN, here
        softmax stands for them. ``absent='smooth'`` is the form of the public
        VGG16 U-Net trainers.
    """
    check_dice("soft_dice_loss", smooth, absent)
    with torch.autocast(device_type=logits.device.type, enabled=False):
        logits, target, valid = split_ignored(logits, target, ignore_index)
        counts = valid.float()
        if weight is not None:
            counts = weight.float().masked_fill(~valid, 0.0)
        probs = F.softmax(logits, dim=1) * counts.unsqueeze(1)
        classes = torch.arange(logits.shape[1], device=logits.device)
        truth = target.unsqueeze(1) == classes.view(1, -1, *[1] * (target.dim() - 1))
        pixels = (0, *range(2, logits.dim()))
        sums = torch.stack(
            (
                (probs * truth).sum(pixels),
                probs.sum(pixels),
                (counts.unsqueeze(1) * truth).sum(pixels),
            )
        )  # (3, C): intersection, predicted, true
        intersection, predicted, true = sum_over_processes(sums)
        loss = 1 - (2 * intersection + smooth) / (predicted + true + smooth)
        counted = true > 0 if absent == "ignore" else torch.ones_like(true) > 0
        if not include_background:
            counted = counted & (classes > 0)
        return (loss * counted).sum() / counted.sum().clamp_min(1)
