"""LeukocyteMask: find the cells in a reduced image, then segment each one alone."""

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

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.registry import MODELS

MIN_SIDE = 32  # pixels of the first stage's image: the encoder halves four times
WINDOWS_AT_ONCE = 4  # a noisy first stage may find many, as large as the image


class Box(NamedTuple):
    """A rectangle in pixels; ``bottom`` and ``right`` are exclusive."""

    top: int
    left: int
    bottom: int
    right: int


def find_cells(
    foreground: np.ndarray, *, min_area: float = 0.002, max_cells: int = 16
) -> list[Box]:
    """Return the boxes of the connected components of a mask, the largest first.

    Args:
        foreground: (H, W), true where there is a cell.
        min_area: smaller components are no cells, as a share of the image.
        max_cells: at most so many, the largest.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8))
    rows = [[int(v) for v in row] for row in stats[1:]]  # the first is the background
    rows = [row for row in rows if row[cv2.CC_STAT_AREA] >= min_area * foreground.size]
    rows.sort(key=lambda row: -row[cv2.CC_STAT_AREA])
    return [
        Box(top, left, top + height, left + width)
        for left, top, width, height, _ in rows[:max_cells]
    ]


def scale_box(box: Box, down: float, right: float) -> Box:
    """Return a box in an image that is so many times taller and wider, rounded out."""
    top, left = np.floor((box.top * down, box.left * right)).astype(int).tolist()
    bottom, right = np.ceil((box.bottom * down, box.right * right)).astype(int).tolist()
    return Box(top, left, bottom, right)


def windows_around(
    boxes: Sequence[Box],
    image_size: tuple[int, int],
    *,
    context: float = 0.25,
    multiple: int = 16,
) -> list[Box]:
    """Return one window for each box, all of one size, inside the image.

    The size fits the largest box with its context, rounded up to a ``multiple`` or cut
    to the image's. A window is centred on its box, and moved into the image.

    Args:
        boxes: of the cells.
        image_size: height and width in pixels.
        context: what is added on each side, as a share of the box's side.
        multiple: in pixels, of what the network halves.
    """
    if not boxes:
        return []
    starts, ends = [], []
    for axis in (0, 1):
        limit = image_size[axis]
        sides = [(box[axis], box[axis + 2]) for box in boxes]
        longest = max(end - start for start, end in sides)
        size = int(np.ceil(longest * (1 + 2 * context) / multiple)) * multiple
        size = min(size, limit)
        centred = [(start + end - size) // 2 for start, end in sides]
        starts.append([min(max(start, 0), limit - size) for start in centred])
        ends.append([start + size for start in starts[axis]])
    return [Box(*corners) for corners in zip(*starts, *ends, strict=True)]


@MODELS.register_module()
class LeukocyteMask(EncoderDecoder):
    """Locate the cells at low resolution, cut them out with context, segment each.

    The first stage segments a reduced copy of the image, trained on every pixel. The
    connected components that it finds are cut from the full image, with context and
    without resampling (a cell's size tells its class), and segmented by the second
    stage. Logits are the first stage's outside the windows, and the mean of the second
    stage's where windows overlap. All windows of a batch have one size, which fits its
    largest cell, so the logits of an image depend on its neighbours in the batch. Both
    stages share the encoder; the first one's ``locate_head`` is built from the config
    of ``decode_head``, with the same losses.

    Args:
        backbone: encoder of both stages.
        decode_head: head of the second stage, and config of the first's.
        locate_scale: size of the first stage's image, as a share of the image.
        context: what a window adds on each side, as a share of the cell's box.
        min_area: smaller components are not cut out, as a share of the image.
        max_cells: at most so many windows an image, the largest components first.
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
        and forward propagation gives its mask. Inferred, since only the abstract was
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
        locate_head = copy.deepcopy(decode_head)
        super().__init__(backbone, decode_head, **kwargs)
        self.locate_head = MMSEG_MODELS.build(locate_head)
        self.locate_scale, self.context = locate_scale, context
        self.min_area, self.max_cells = min_area, max_cells
        self.train_on = train_on

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict:
        """Return the losses of both stages."""
        maps = self.extract_feat(self._reduced(inputs))
        losses = add_prefix(
            self.locate_head.loss(maps, data_samples, self.train_cfg), "locate"
        )
        if self.train_on == "truth":
            labels = torch.cat([s.gt_sem_seg.data for s in data_samples])
            foreground = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
        else:
            with torch.no_grad():
                foreground = self.locate_head(maps).argmax(1) != BACKGROUND
        # Without a window the second stage would have no gradient, and a distributed
        # training would wait for it.
        whole = Box(0, 0, *inputs.shape[-2:])
        windows = self._windows(foreground, inputs) or [(0, whole)]
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
        windows = self._windows(coarse.argmax(1) != BACKGROUND, inputs)
        return self._refine(inputs, coarse, windows)

    def _forward(self, inputs: Tensor, data_samples=None) -> Tensor:
        # Counting operations must not depend on the image: one window, all of it.
        coarse = self.locate_head(self.extract_feat(self._reduced(inputs)))
        whole = Box(0, 0, *inputs.shape[-2:])
        return self._refine(inputs, coarse, [(i, whole) for i in range(len(inputs))])

    def _reduced(self, inputs: Tensor) -> Tensor:
        size = [
            max(round(side * self.locate_scale), min(side, MIN_SIDE))
            for side in map(int, inputs.shape[-2:])
        ]
        return resize(inputs, size=size, mode="bilinear", align_corners=False)

    def _windows(self, foreground: Tensor, inputs: Tensor) -> list[tuple[int, Box]]:
        """Return (image, window) for every cell of the batch, windows of one size."""
        masks = foreground.cpu().numpy()
        down, right = (
            image / mask
            for image, mask in zip(inputs.shape[-2:], masks.shape[-2:], strict=True)
        )
        images, boxes = [], []
        for index, mask in enumerate(masks):
            for box in find_cells(
                mask, min_area=self.min_area, max_cells=self.max_cells
            ):
                images.append(index)
                boxes.append(scale_box(box, down, right))
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
            [
                self.decode_head(self.extract_feat(some))
                for some in crops.split(WINDOWS_AT_ONCE)
            ]
        )
        fine = resize(fine, size=crops.shape[-2:], mode="bilinear", align_corners=False)
        total = torch.zeros_like(logits)
        count = torch.zeros_like(logits[:, :1])
        for (image, box), part in zip(windows, fine, strict=True):
            rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
            total[image, :, rows, columns] += part
            count[image, :, rows, columns] += 1
        return torch.where(count > 0, total / count.clamp(min=1), logits)
