"""A segmentor that gives every cell one class, optionally from eight views."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from leuko_mm.classes import BACKGROUND
from leuko_mm.registry import MODELS

VIEWS = (1, 8)
# Of ``test_cfg``: postprocessing, in which compared methods must not differ.
TEST_CFG_KEYS = ("least_area", "views")


def one_class_per_cell(probabilities: np.ndarray, *, least_area: float) -> np.ndarray:
    """Return labels in which every connected cell has one class.

    A cell is a connected component of the foreground of the most probable labels. It
    takes the class with the largest sum of probabilities over it. Components smaller
    than ``least_area`` are specks or platelets, and become background.

    Args:
        probabilities: of the classes, background first.
        least_area: pixels.

    Shape:
        (C, H, W) float -> (H, W) uint8.
    """
    labels = probabilities.argmax(0).astype(np.uint8)
    foreground = (labels != BACKGROUND).astype(np.uint8)
    _, components, stats, _ = cv2.connectedComponentsWithStats(foreground)
    for number, (left, top, width, height, area) in enumerate(stats[1:], 1):
        box = np.s_[top : top + height, left : left + width]
        inside = components[box] == number
        if area < least_area:
            labels[box][inside] = BACKGROUND
        else:
            sums = probabilities[(slice(None), *box)][:, inside].sum(axis=1)
            sums[BACKGROUND] = -np.inf
            labels[box][inside] = sums.argmax()
    return labels


def mean_of_eight_views(logits_of, images: Tensor) -> Tensor:
    """Return the log of the mean probabilities over eight views.

    The views are the four quarter turns, each plain and mirrored.

    Args:
        logits_of: from images to logits of their size.
        images: any height and width.

    Shape:
        (B, 3, H, W) -> (B, C, H, W).
    """
    total = 0
    for turns in range(4):
        for mirrored in (False, True):
            view = torch.rot90(images, turns, (2, 3))
            view = view.flip(3) if mirrored else view
            probabilities = logits_of(view).float().softmax(dim=1)
            if mirrored:
                probabilities = probabilities.flip(3)
            total = total + torch.rot90(probabilities, -turns, (2, 3))
    return (total / 8).clamp(min=1e-12).log()


@MODELS.register_module()
class CellEncoderDecoder(EncoderDecoder):
    """mmseg's ``EncoderDecoder``, with one class for each cell in tests.

    In training, and in ``encode_decode``, it is its base. ``leuko predict`` separates
    cells by itself and uses the logits.

    Args:
        test_cfg: ``mode='whole'``; ``least_area`` of ``one_class_per_cell`` (None:
            labels stay as they are); ``views``, 1 or 8 (``mean_of_eight_views``).
        **kwargs: of ``EncoderDecoder``.

    Raises:
        ValueError: if ``test_cfg`` has another mode, or other numbers.
    """

    def __init__(self, *, test_cfg: dict | None = None, **kwargs: Any):
        given = dict(test_cfg or {})
        least_area, views = given.get("least_area"), given.get("views", 1)
        if (
            views not in VIEWS
            or given.get("mode", "whole") != "whole"
            or (least_area is not None and least_area < 0)
        ):
            raise ValueError(
                f"CellEncoderDecoder got test_cfg={given}; it needs mode='whole', "
                f"takes least_area=None or 0 and more, and views in {VIEWS}"
            )
        super().__init__(test_cfg=test_cfg, **kwargs)
        self.least_area, self.views = least_area, views

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return logits, of one view or of the mean of eight."""
        if self.views == 1:
            return super().inference(inputs, batch_img_metas)

        def logits_of(view: Tensor) -> Tensor:
            size = tuple(view.shape[-2:])
            sizes = dict(ori_shape=size, img_shape=size, pad_shape=size)
            metas = [{**meta, **sizes} for meta in batch_img_metas]
            return self.whole_inference(view, metas)

        return mean_of_eight_views(logits_of, inputs)

    def postprocess_result(self, seg_logits: Tensor, data_samples: list | None = None):
        """Return data samples whose labels give every cell one class."""
        samples = super().postprocess_result(seg_logits, data_samples)
        if self.least_area is None:
            return samples
        for sample in samples:
            probabilities = sample.seg_logits.data.float().softmax(dim=0)
            labels = one_class_per_cell(
                probabilities.cpu().numpy(), least_area=self.least_area
            )
            labels = torch.from_numpy(labels).to(probabilities.device, torch.int64)
            sample.pred_sem_seg = PixelData(data=labels[None])
        return samples
