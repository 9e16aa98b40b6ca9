"""Where in a field leukocytes can be, by the stain of their nuclei."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from leuko_mm.inference.cells import Box

# Pixels of a red cell's diameter in the image that is searched.
RED_CELL = 12
# Weights of the optical densities of red, green and blue: nuclei absorb more red and
# green light than blue, red cells absorb green and blue.
WEIGHTS = np.float32([0.5, 0.5, -0.3])
# What a nucleus is darker than the median of its field: a share of what the darkest
# thousandth is, but at least and at most so much.
SHARE, LEAST, MOST = 0.5, 0.2, 0.6
# What is beside a nucleus and seen with it, in red cells; and the least side of a box.
MARGIN, SIDE = 1.5, 4.0
# Networks halve their images five times: what is moved by so many pixels gives the
# same, but for what is seen beside it.
STEP = 32


def find_regions(image: np.ndarray, *, red_cell_px: float) -> list[Box]:
    """Return boxes that hold the nuclei of a field with what surrounds them.

    Platelets, debris and dark red cells may be in boxes as well. Boxes may overlap.

    Args:
        image: RGB uint8 (H, W, 3), as the network sees it.
        red_cell_px: diameter of a red cell in its pixels.
    """
    shape = image.shape[:2]
    factor = min(1.0, RED_CELL / red_cell_px)
    size = tuple(max(1, round(side * factor)) for side in shape[::-1])
    stain = _stain(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    usual, darkest = np.percentile(stain, (50, 99.9))
    least = usual + np.clip(SHARE * (darkest - usual), LEAST, MOST)
    spots = (stain >= least).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(spots)
    across, down = shape[1] / size[0], shape[0] / size[1]
    boxes: list[Box] = []
    # Large ones first: what is small may be in their boxes.
    for x, y, width, height, _ in sorted(stats[1:].tolist(), key=lambda s: -s[4]):
        spot = (x * across, y * down, (x + width) * across, (y + height) * down)
        wanted = grown(spot, MARGIN * red_cell_px, shape)
        if not any(inside(wanted, box) for box in boxes):
            boxes.append(grown(spot, MARGIN * red_cell_px, shape, SIDE * red_cell_px))
    return boxes


def _stain(image: np.ndarray) -> np.ndarray:
    """Return how much a pixel looks like a nucleus, 0 where it is bright."""
    colours = image.astype(np.float32)
    bright = np.percentile(colours.reshape(-1, 3), 95, axis=0)
    passed = np.clip(colours / np.maximum(bright, 1), 0.02, 1).astype(np.float32)
    return cv2.blur(-np.log(passed) @ WEIGHTS, (5, 5))


def grown(
    box: Sequence[float],
    margin: float,
    shape: tuple[int, int],
    least: float = 0,
    *,
    step: int = STEP,
) -> Box:
    """Return a box with a margin on every side, inside an image (H, W).

    It has at least the side ``least`` where the image has. Its sides are at multiples
    of ``step`` pixels, or at the border of the image.
    """
    sides = []
    for low, high, limit in zip(box[:2], box[2:], shape[::-1], strict=True):
        more = max(margin, (least - (high - low)) / 2)
        start, stop = low - more, high + more
        # What does not fit on one side is added on the other.
        start, stop = start - max(0, stop - limit), stop - min(0, start)
        low, high = step * int(start // step), step * int(-(-stop // step))
        sides.append((max(0, low), min(limit, high)))
    (x0, x1), (y0, y1) = sides
    return x0, y0, x1, y1


def inside(one: Box, other: Box) -> bool:
    """Return whether a box has no pixel outside of another."""
    starts = one[0] >= other[0] and one[1] >= other[1]
    return starts and one[2] <= other[2] and one[3] <= other[3]
