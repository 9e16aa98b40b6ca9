"""Windows around the cells of a picture, all of one size, cut without resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np


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
