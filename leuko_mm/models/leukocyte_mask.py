"""LeukocyteMask: find the cells in a small picture, then segment each one by itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import resize
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from leuko_mm.registry import MODELS


class Box(NamedTuple):
    """A rectangle in pixels; ``bottom`` and ``right`` are outside it."""

    top: int
    left: int
    bottom: int
    right: int


def find_cells(
    foreground: np.ndarray, *, min_area: float = 0.002, max_cells: int = 16
) -> list[Box]:
    """Return the boxes of the connected pieces of a mask, largest piece first.

    Args:
        foreground: (H, W), true where there is a cell.
        min_area: smaller pieces are no cells, as a share of the picture.
        max_cells: the largest so many are kept.

    Example:
        >>> mask = np.zeros((20, 20), bool)
        >>> mask[2:6, 3:9] = mask[12:15, 12:15] = True
        >>> [tuple(box) for box in find_cells(mask)]
        [(2, 3, 6, 9), (12, 12, 15, 15)]
        >>> find_cells(mask, min_area=0.03)
        [Box(top=2, left=3, bottom=6, right=9)]
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8))
    pieces = [[int(v) for v in row] for row in stats[1:]]  # the first is the ground
    area = cv2.CC_STAT_AREA
    pieces = [p for p in pieces if p[area] >= min_area * foreground.size]
    pieces.sort(key=lambda piece: -piece[area])
    return [
        Box(top, left, top + height, left + width)
        for left, top, width, height, _ in pieces[:max_cells]
    ]


def scale_box(box: Box, down: float, right: float) -> Box:
    """Return a box in a picture that is so many times taller and wider, rounded out."""
    return Box(
        int(np.floor(box.top * down)),
        int(np.floor(box.left * right)),
        int(np.ceil(box.bottom * down)),
        int(np.ceil(box.right * right)),
    )


def windows_around(
    boxes: Sequence[Box],
    picture: tuple[int, int],
    *,
    context: float = 0.25,
    multiple: int = 16,
) -> list[Box]:
    """Return one window a box, all of one size, inside the picture.

    The size fits the largest box with its context, and is a multiple of what the
    network halves, or the picture's own. A window is centred on its box, and pushed
    inside the picture where it would stand out.

    Args:
        boxes: of the cells.
        picture: height and width in pixels.
        context: what is added on each side, as a share of the box's side.
        multiple: in pixels.

    Example:
        >>> windows_around([Box(0, 40, 20, 60)], (100, 100))
        [Box(top=0, left=34, bottom=32, right=66)]
    """
    if not boxes:
        return []
    size = []
    for axis in (0, 1):
        longest = max(box[axis + 2] - box[axis] for box in boxes)
        wanted = int(np.ceil(longest * (1 + 2 * context) / multiple)) * multiple
        size.append(min(wanted, picture[axis]))
    windows = []
    for box in boxes:
        start = [
            min(
                max((box[axis] + box[axis + 2] - size[axis]) // 2, 0),
                picture[axis] - size[axis],
            )
            for axis in (0, 1)
        ]
        windows.append(Box(*start, start[0] + size[0], start[1] + size[1]))
    return windows


SMALLEST_SIDE = 32  # in pixels: an encoder halves four times and needs some left
AT_ONCE = 4  # windows: a noisy first stage may ask for many, as large as the image
BACKGROUND, IGNORED = 0, 255


@MODELS.register_module()
class LeukocyteMask(EncoderDecoder):
    """Locate the cells at low resolution, cut them out with context, segment each.

    The first stage labels a reduced copy of the image, under the supervision of every
    pixel. The connected pieces that it finds are cut from the full image, with context
    and without resampling (a cell's size tells its class), and the second stage
    segments them. Outside the windows the first stage's answer stands, where windows
    overlap the mean of theirs. The stages share the encoder; the first one's head,
    ``locate_head``, is made from the config of the second, ``decode_head``, so that
    both learn by the same losses.

    Args:
        backbone: encoder of both stages.
        decode_head: head of the second stage, and recipe of the first's.
        locate_scale: size of the first stage's image, as a share of the image.
        context: what a window adds on each side of its cell, as a share of the cell's
            box.
        min_area: smaller pieces are not cut out, as a share of the image.
        max_cells: at most so many windows an image, the largest pieces first.
        train_on: windows that the second stage learns from: ``truth``, around the
            cells of the mask, or ``found``, around what the first stage finds, which
            early in training is noise.
        **kwargs: for mmseg's ``EncoderDecoder``.

    Shape:
        (B, 3, H, W) -> logits (B, num_classes, H, W).

    Raises:
        ValueError: if ``train_on`` is unknown, or ``locate_scale`` is not in (0, 1].

    Reference:
        Fan et al., LeukocyteMask, J. Biophotonics 12(7), 2019: pixel-level prior
        information trains a network, the network locates the region of a leukocyte,
        and forward propagation gives its mask. Inferred, since only its summary was
        open to us: which network (the VGG16 U-Net of the comparison), the scale of the
        first stage, the context, the shared encoder, and windows around the truth in
        training. Differs: several cells an image, one window each.
    """

    def __init__(
        self,
        backbone: dict,
        decode_head: dict,
        *,
        locate_scale: float = 0.25,
        context: float = 0.25,
        min_area: float = 0.002,
        max_cells: int = 16,
        train_on: str = "truth",
        **kwargs: Any,
    ) -> None:
        if train_on not in ("truth", "found") or not 0 < locate_scale <= 1:
            raise ValueError(
                f"LeukocyteMask got train_on={train_on!r} and locate_scale="
                f"{locate_scale}; give 'truth' or 'found', and a scale above 0 and at "
                "most 1"
            )
        recipe = copy.deepcopy(decode_head)
        super().__init__(backbone, decode_head, **kwargs)
        self.locate_head = MMSEG_MODELS.build(recipe)
        self.locate_scale, self.context = locate_scale, context
        self.min_area, self.max_cells = min_area, max_cells
        self.train_on = train_on

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict:
        """Return the losses of both stages.

        Args:
            inputs: (B, 3, H, W).
            data_samples: with ``gt_sem_seg``.
        """
        maps = self.extract_feat(self._reduced(inputs))
        losses = add_prefix(
            self.locate_head.loss(maps, data_samples, self.train_cfg), "locate"
        )
        if self.train_on == "truth":
            labels = torch.cat([s.gt_sem_seg.data for s in data_samples])
            found = self._boxes((labels != BACKGROUND) & (labels != IGNORED), inputs)
        else:
            with torch.no_grad():
                logits = self.locate_head(maps)
            found = self._boxes(logits.argmax(1) != BACKGROUND, inputs)
        windows = self._windows(found, inputs)
        # Without a cell the second stage would have no gradient, and a distributed
        # training would wait for it.
        windows = windows or [(0, Box(0, 0, *inputs.shape[-2:]))]
        crops = self._cut(inputs, windows)
        samples = []
        for image, box in windows:
            label = data_samples[image].gt_sem_seg.data
            cut = label[:, box.top : box.bottom, box.left : box.right]
            samples.append(SegDataSample(gt_sem_seg=PixelData(data=cut)))
        fine = self.decode_head.loss(self.extract_feat(crops), samples, self.train_cfg)
        return {**losses, **add_prefix(fine, "decode")}

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the logits at the size of the images."""
        coarse = self.locate_head(self.extract_feat(self._reduced(inputs)))
        found = self._boxes(coarse.argmax(1) != BACKGROUND, inputs)
        return self._refine(inputs, coarse, self._windows(found, inputs))

    def _forward(self, inputs: Tensor, data_samples=None) -> Tensor:
        # What is counted and exported may not depend on what is seen: one window, the
        # image itself.
        coarse = self.locate_head(self.extract_feat(self._reduced(inputs)))
        whole = Box(0, 0, *inputs.shape[-2:])
        return self._refine(inputs, coarse, [(i, whole) for i in range(len(inputs))])

    def _reduced(self, inputs: Tensor) -> Tensor:
        size = [
            max(round(side * self.locate_scale), min(side, SMALLEST_SIDE))
            for side in map(int, inputs.shape[-2:])
        ]
        return resize(inputs, size=size, mode="bilinear", align_corners=False)

    def _boxes(self, foreground: Tensor, inputs: Tensor) -> list[list[Box]]:
        """Return each image's cells, in pixels of the image."""
        masks = foreground.cpu().numpy()
        down, right = (
            image / mask
            for image, mask in zip(inputs.shape[-2:], masks.shape[-2:], strict=True)
        )
        limits = {"min_area": self.min_area, "max_cells": self.max_cells}
        return [
            [scale_box(box, down, right) for box in find_cells(mask, **limits)]
            for mask in masks
        ]

    def _windows(
        self, found: Sequence[Sequence[Box]], inputs: Tensor
    ) -> list[tuple[int, Box]]:
        """Return (image, window) for every cell of the batch, windows of one size."""
        images = [i for i, boxes in enumerate(found) for _ in boxes]
        boxes = [box for boxes in found for box in boxes]
        windows = windows_around(boxes, inputs.shape[-2:], context=self.context)
        return list(zip(images, windows, strict=True))

    @staticmethod
    def _cut(inputs: Tensor, windows: Sequence[tuple[int, Box]]) -> Tensor:
        return torch.stack(
            [
                inputs[image, :, box.top : box.bottom, box.left : box.right]
                for image, box in windows
            ]
        )

    def _refine(
        self, inputs: Tensor, coarse: Tensor, windows: Sequence[tuple[int, Box]]
    ) -> Tensor:
        """Return the first stage's logits, in the windows replaced by the second's."""
        size = tuple(inputs.shape[-2:])
        logits = resize(coarse, size=size, mode="bilinear", align_corners=False)
        if not windows:
            return logits
        crops = self._cut(inputs, windows)
        fine = torch.cat(
            [self.decode_head(self.extract_feat(some)) for some in crops.split(AT_ONCE)]
        )
        fine = resize(fine, size=crops.shape[-2:], mode="bilinear", align_corners=False)
        total = torch.zeros_like(logits)
        times = torch.zeros_like(logits[:, :1])
        for (image, box), answer in zip(windows, fine, strict=True):
            rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
            total[image, :, rows, columns] += answer
            times[image, :, rows, columns] += 1
        return torch.where(times > 0, total / times.clamp(min=1), logits)
