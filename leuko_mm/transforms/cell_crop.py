"""Cut out the surroundings of one cell at a fixed scale."""

from __future__ import annotations

import math

import cv2
import numpy as np

# Pixels around a window that interpolation may look at.
MARGIN = 2


def cut_square(
    image: np.ndarray, centre: tuple[float, float], *, factor: float, side: int
) -> np.ndarray:
    """Return the square around a point of an image, at another scale.

    Beyond the border the image is mirrored.

    Args:
        centre: x, y in pixels; the middle of the first pixel is (0.5, 0.5).
        factor: pixels of the square per pixel of the image.
        side: of the square, in its own pixels.

    Shape:
        (H, W, 3) uint8 -> (side, side, 3) uint8.

    Raises:
        ValueError: if the point is outside the image, or a number is not positive.
    """
    height, width = image.shape[:2]
    if not (0 <= centre[0] <= width and 0 <= centre[1] <= height):
        raise ValueError(f"centre={centre} is outside of {width} x {height} pixels")
    if not factor > 0 or side < 1:
        raise ValueError(f"factor={factor}, side={side}; expected numbers above 0")
    reach = side / factor / 2 + MARGIN / min(factor, 1)
    spans, ratios, shifts = [], [], []
    for at, length in zip(centre, (width, height), strict=True):
        start = max(0, math.floor(at - reach))
        stop = min(length, math.ceil(at + reach))
        # Shrinking averages areas first: a linear kernel would alias granules.
        shrunk = max(1, round((stop - start) * factor)) if factor < 1 else stop - start
        ratio = shrunk / (stop - start)
        spans.append(slice(start, stop))
        ratios.append((shrunk, factor / ratio))
        # From the indices of pixels to those of the square's.
        shifts.append(side / 2 - factor * (at - start) + (factor / ratio - 1) / 2)
    part = image[spans[1], spans[0]]
    if factor < 1:
        size = (ratios[0][0], ratios[1][0])
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    matrix = np.array([[ratios[0][1], 0, shifts[0]], [0, ratios[1][1], shifts[1]]])
    smooth = cv2.INTER_LINEAR if factor < 1 else cv2.INTER_CUBIC
    return cv2.warpAffine(
        np.ascontiguousarray(part),
        matrix,
        (side, side),
        flags=smooth,
        borderMode=cv2.BORDER_REFLECT_101,
    )
