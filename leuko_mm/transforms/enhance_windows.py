"""The window rule: AHE-Retinex on images of any size, in overlapping windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.image_input import as_rgb_uint8
from leuko_mm.transforms.retinex_params import RetinexParams

_DEFAULTS = RetinexParams()


def enhance_image(
    image: np.ndarray,
    *,
    window: int = 256,
    overlap: int = 64,
    reading: str = "hsv",
    params: RetinexParams = _DEFAULTS,
) -> np.ndarray:
    """Enhance an image of any size by windows, so that a field treats cells alike.

    An image no larger than the window in both directions is one window. Anything
    larger is covered by equal windows that overlap, and where they do the results
    are faded into each other. Rows of windows are finished one after another:
    beside the output only one band of them is held.

    Args:
        image: RGB at the model's scale; see ``as_rgb_uint8`` for other kinds.
        window: side of a window in pixels.
        overlap: least overlap of neighbouring windows in pixels.
        reading: see ``ahe_retinex``.
        params: see ``ahe_retinex``.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: if the image is refused, or the window or overlap does not fit.

    Example:
        >>> enhance_image(np.zeros((300, 40, 3), np.uint8)).shape
        (300, 40, 3)
    """
    image = as_rgb_uint8(image)
    enhance = partial(ahe_retinex, reading=reading, params=params)
    return in_windows(image, enhance, window=window, overlap=overlap)


def in_windows(
    image: np.ndarray,
    enhance: Callable[[np.ndarray], np.ndarray],
    *,
    window: int = 256,
    overlap: int = 64,
) -> np.ndarray:
    """Apply a function of one window to an image of any size, by the window rule.

    Args:
        image: uint8 RGB.
        enhance: from (h, w, 3) uint8 to the same shape and type; h, w <= window.
        window: see ``enhance_image``.
        overlap: see ``enhance_image``.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: if the window or overlap does not fit.

    Example:
        >>> field = np.full((300, 40, 3), 9, np.uint8)
        >>> bool((in_windows(field, np.copy) == field).all())
        True
    """
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window={window}, overlap={overlap}: expected a window of at least 1 "
            "pixel and an overlap of at least 0 that is smaller than the window"
        )
    height, width = image.shape[:2]
    if height <= window and width <= window:
        return enhance(image)
    tops = window_starts(height, window, overlap)
    lefts = window_starts(width, window, overlap)
    rows, columns = min(window, height), min(window, width)
    fades_y, fades_x = window_weights(tops, rows), window_weights(lefts, columns)
    out = np.empty_like(image)
    band = np.zeros((rows, width, 3), np.float32)
    for i, top in enumerate(tops):
        for left, fade_x in zip(lefts, fades_x, strict=True):
            place = slice(left, left + columns)
            piece = enhance(image[top : top + rows, place])
            weight = cv2.merge([np.outer(fades_y[i], fade_x)] * 3)
            band[:, place] += cv2.multiply(piece, weight, dtype=cv2.CV_32F)
        done = rows if i == len(tops) - 1 else tops[i + 1] - top
        out[top : top + done] = cv2.add(band[:done], (0, 0, 0, 0), dtype=cv2.CV_8U)
        band[: rows - done] = band[done:].copy()
        band[rows - done :] = 0
    return out


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where the windows begin along one side: evenly, covering all of it.

    Example:
        >>> window_starts(512, 256, 64)
        [0, 128, 256]
        >>> window_starts(200, 256, 64)
        [0]
    """
    if length <= window:
        return [0]
    gaps = -(-(length - window) // (window - overlap))
    return [round(i * (length - window) / gaps) for i in range(gaps + 1)]


def window_weights(starts: list[int], size: int) -> list[np.ndarray]:
    """Return each window's weights (size,); at every pixel they sum to 1.

    A window fades in and out along its overlap with its neighbours. Where more
    than two meet, the weights are divided by their sum.
    """
    centre = np.arange(size) + 0.5
    weights = [np.ones(size) for _ in starts]
    for i, (start, after) in enumerate(pairwise(starts)):
        shared = start + size - after
        if shared > 0:
            fade_in = np.clip(centre / shared, 0, 1)
            weights[i + 1] = np.minimum(weights[i + 1], fade_in)
            weights[i] = np.minimum(weights[i], fade_in[::-1])
    total = np.zeros(starts[-1] + size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    return [
        (weight / total[start : start + size]).astype(np.float32)
        for start, weight in zip(starts, weights, strict=True)
    ]
