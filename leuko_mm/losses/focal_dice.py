"""Focal loss on softmax outputs, and its sum with the Dice loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.losses.dice import check_dice, soft_dice_loss
from leuko_mm.losses.ignored import split_ignored
from leuko_mm.registry import MODELS


def softmax_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
    ignore_index: int | None = 255,
    weight: Tensor | None = None,
    avg_factor: float | None = None,
) -> Tensor:
    """Return the mean over valid pixels of -alpha_t (1 - p_t)^gamma log p_t.

    Args:
        logits: (B, C, *).
        target: (B, *) integer labels.
        gamma: focus on hard pixels; 0 is cross-entropy.
        alpha: factor on every class, or one a class; None: 1.
        ignore_index: label of pixels that count nowhere; None: none.
        weight: (B, *) factor a pixel; it does not change the divisor.
        avg_factor: divisor in place of the number of valid pixels.

    Shape:
        (B, C, *), (B, *) -> scalar float32; 0 when no pixel is valid.

    Raises:
        ValueError: as ``split_ignored``; if ``gamma`` is negative or ``alpha`` has
            not one factor a class.

    Reference:
        Lin et al., Focal loss, ICCV 2017; Zhu et al., eq. 3 (softmax, gamma 2, no
        alpha). Differs: nothing.
    """
    if gamma < 0:
        raise ValueError(f"softmax_focal_loss got gamma={gamma}; give 0 or more")
    with torch.autocast(device_type=logits.device.type, enabled=False):
        logits, target, valid = split_ignored(logits, target, ignore_index)
        log_p = F.log_softmax(logits, dim=1)
        log_pt = log_p.gather(1, target.unsqueeze(1)).squeeze(1)  # (B, *)
        loss = -log_pt
        if gamma > 0:
            # 1 - p_t without cancellation; the floor keeps the slope of x**gamma
            # finite at p_t = 1 when gamma < 1 (the true limit there is 0)
            miss = -torch.expm1(log_pt)
            loss = loss * miss.clamp_min(torch.finfo(miss.dtype).tiny ** 0.5) ** gamma
        if alpha is not None:
            factors = torch.as_tensor(alpha, dtype=torch.float32, device=logits.device)
            if factors.dim() == 0:
                factors = factors.expand(logits.shape[1])
            if factors.shape != logits.shape[1:2]:
                raise ValueError(
                    f"softmax_focal_loss got alpha={alpha} for {logits.shape[1]} "
                    "classes; give one number, or one a class"
                )
            loss = loss * factors[target]
        if weight is not None:
            loss = loss * weight.float().masked_fill(~valid, 0.0)
        count = valid.sum().clamp_min(1) if avg_factor is None else avg_factor
        return (loss * valid).sum() / count


@MODELS.register_module()
class FocalDiceLoss(nn.Module):
    """Focal loss plus Dice loss, a scalar for any mmseg head.

    See ``softmax_focal_loss`` and ``soft_dice_loss``. Computed in float32, also under
    autocast. Over several processes the Dice sums are global, while the focal mean is
    over each process's own valid pixels.

    Args:
        gamma: of the focal loss.
        alpha: of the focal loss.
        smooth: of the Dice loss, in pixels.
        absent: of the Dice loss: ``ignore`` or ``smooth``.
        include_background: of the Dice loss.
        dice_weight: factor on the Dice loss; 0 leaves it out.
        focal_weight: factor on the focal loss; 0 leaves it out.
        loss_weight: factor on the sum.
        loss_name: name in the log; mmseg optimises what begins with ``loss_``.

    Shape:
        (B, C, *), (B, *) -> scalar float32.

    Raises:
        ValueError: as the two functions; if ``loss_name`` does not begin with
            ``loss_``, both weights are 0, or another reduction than the mean is given.

    Reference:
        Zhu et al., Improved U-net-based leukocyte segmentation method, eq. 6.
        Differs: the Dice mean skips classes absent from the batch by default.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        *,
        smooth: float = 1e-5,
        absent: str = "ignore",
        include_background: bool = True,
        dice_weight: float = 1.0,
        focal_weight: float = 1.0,
        loss_weight: float = 1.0,
        loss_name: str = "loss_focal_dice",
    ) -> None:
        super().__init__()
        if not loss_name.startswith("loss_"):
            raise ValueError(
                f"FocalDiceLoss got loss_name={loss_name!r}; it must begin with "
                "'loss_', or mmseg leaves it out of the sum that is optimised"
            )
        check_dice("FocalDiceLoss", smooth, absent)
        if not (dice_weight or focal_weight):
            raise ValueError(
                "FocalDiceLoss got dice_weight=0 and focal_weight=0; nothing is left "
                "to optimise: keep one of them"
            )
        self.gamma, self.alpha = gamma, alpha
        self.smooth, self.absent = smooth, absent
        self.include_background = include_background
        self.dice_weight, self.focal_weight = dice_weight, focal_weight
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int | None = 255,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Return the weighted sum of both losses."""
        if reduction_override not in (None, "mean"):
            raise ValueError(
                f"FocalDiceLoss got reduction_override={reduction_override!r}; a Dice "
                "of the whole batch has only the mean"
            )
        shared = {"ignore_index": ignore_index, "weight": weight}
        total = logits.new_zeros((), dtype=torch.float32)
        if self.focal_weight:
            total = total + self.focal_weight * softmax_focal_loss(
                logits,
                target,
                gamma=self.gamma,
                alpha=self.alpha,
                avg_factor=avg_factor,
                **shared,
            )
        if self.dice_weight:
            total = total + self.dice_weight * soft_dice_loss(
                logits,
                target,
                smooth=self.smooth,
                absent=self.absent,
                include_background=self.include_background,
                **shared,
            )
        return self.loss_weight * total
