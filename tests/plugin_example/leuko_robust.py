"""A loss that forgives wrong labels, and a white balance."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor, nn

from leuko_mm.losses.ignored import split_ignored
from leuko_mm.registry import MODELS, TRANSFORMS


def generalised_cross_entropy(
    logits: Tensor, target: Tensor, *, q: float = 0.7, ignore_index: int = 255
) -> Tensor:
    """Return the mean over valid pixels of (1 - p_t ** q) / q.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W) integer labels.
        q: 0 is cross-entropy; 1 punishes a certain mistake no more than 1.
        ignore_index: label of pixels that count nowhere.

    Reference:
        Zhang and Sabuncu, Generalized cross entropy loss, NeurIPS 2018.
        Differs: not truncated.
    """
    logits, target, valid = split_ignored(logits, target, ignore_index)
    log_p = torch.log_softmax(logits, dim=1)  # (B, C, H, W)
    log_pt = log_p.gather(1, target.unsqueeze(1)).squeeze(1)  # (B, H, W)
    loss = -torch.expm1(q * log_pt) / q if q else -log_pt
    return (loss * valid).sum() / valid.sum().clamp_min(1)


@MODELS.register_module()
class GeneralisedCrossEntropy(nn.Module):
    """Cross-entropy that trusts a label less the less it fits.

    See ``generalised_cross_entropy``.

    Args:
        q: trust in the network against the label, 0 to 1.
        loss_name: name in the log; mmseg optimises what begins with ``loss_``.
    """

    def __init__(self, q: float = 0.7, *, loss_name: str = "loss_gce"):
        super().__init__()
        if not 0 <= q <= 1:
            raise ValueError(f"GeneralisedCrossEntropy got q={q}; give 0 to 1")
        self.q = q
        self._loss_name = loss_name

    @property
    def loss_name(self) -> str:
        """Name of this loss in the log."""
        return self._loss_name

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Return the loss of a batch; pixel samplers, who give weights, are refused."""
        if weight is not None:
            raise ValueError("GeneralisedCrossEntropy takes no weight; use no sampler")
        return generalised_cross_entropy(
            logits, target, q=self.q, ignore_index=ignore_index
        )


def grey_world(image: np.ndarray) -> np.ndarray:
    """Scale each channel so that all have the mean of the whole image.

    Args:
        image: uint8 (H, W, 3), either channel order.

    Reference:
        Buchsbaum, A spatial processor model for object colour perception, 1980.
        Differs: nothing.
    """
    means = image.reshape(-1, 3).mean(axis=0)
    balanced = image * (means.mean() / np.maximum(means, 1))
    return np.clip(np.rint(balanced), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class GreyWorld(BaseTransform):
    """Balance the colours of ``results['img']``; see ``grey_world``."""

    def transform(self, results: dict) -> dict:
        """Replace the image by its balanced form, same shape and order."""
        results["img"] = grey_world(results["img"])
        return results

    def __repr__(self) -> str:
        return "GreyWorld()"
