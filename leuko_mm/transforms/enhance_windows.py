"""The window rule: AHE-Retinex on images of any size, in overlapping windows."""

from __future__ import annotations

import numpy as np

from leuko_mm.transforms.ahe_retinex import ahe_retinex, check_image
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
        image: RGB, 0-255, at the model's scale.
        window: side of a window in pixels.
        overlap: least overlap of neighbouring windows in pixels.
        reading: see ``ahe_retinex``.
        params: see ``ahe_retinex``.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: if the image is not RGB uint8, or the overlap does not fit.

    Example:
        >>> enhance_image(np.zeros((300, 40, 3), np.uint8)).shape
        (300, 40, 3)
    """
    check_image(image)
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window={window}, overlap={overlap}: expected a window of at least 1 "
            "pixel and an overlap of at least 0 that is smaller than the window"
        )
    height, width = image.shape[:2]
    if height <= window and width <= window:
        return ahe_retinex(image, reading=reading, params=params)
    tops = window_starts(height, window, overlap)
    lefts = window_starts(width, window, overlap)
    rows, columns = min(window, height), min(window, width)
    fade_x = [_fade(lefts, i, columns) for i in range(len(lefts))]
    out = np.empty_like(image)
    band = np.zeros((rows, width, 3), np.float32)
    for i, top in enumerate(tops):
        fade_y = _fade(tops, i, rows)
        for left, across in zip(lefts, fade_x, strict=True):
            piece = image[top : top + rows, left : left + columns]
            piece = ahe_retinex(piece, reading=reading, params=params)
            weight = (fade_y[:, None] * across[None, :])[..., None]
            band[:, left : left + columns] += piece * weight
        done = rows if i == len(tops) - 1 else tops[i + 1] - top
        out[top : top + done] = np.rint(np.clip(band[:done], 0, 255))
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


def _fade(starts: list[int], i: int, size: int) -> np.ndarray:
    """Return the weights (size,) of window i; over all windows they sum to 1."""
    centre = np.arange(size) + 0.5
    weight = np.ones(size)
    if i > 0:
        shared = starts[i - 1] + size - starts[i]
        if shared > 0:
            weight = np.minimum(weight, np.clip(centre / shared, 0, 1))
    if i < len(starts) - 1:
        shared = starts[i] + size - starts[i + 1]
        if shared > 0:
            weight = np.minimum(weight, np.clip((size - centre) / shared, 0, 1))
    return weight.astype(np.float32)
