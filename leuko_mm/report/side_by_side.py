"""An image beside what was made of it, at full size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

GAP = 8


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Lay images of one size out in a row, with a white gap between them.

    Args:
        images: uint8 RGB, one or more.

    Shape:
        n times (H, W, 3) -> (H, n * W + (n - 1) * GAP, 3).

    Raises:
        ValueError: if there is none, or their shapes differ.

    Example:
        >>> one = np.zeros((4, 5, 3), np.uint8)
        >>> side_by_side([one, one]).shape
        (4, 18, 3)
    """
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise ValueError(f"expected images of one shape, got {sorted(shapes)}")
    height, width, channels = shapes.pop()
    wide = (height, len(images) * (width + GAP) - GAP, channels)
    row = np.full(wide, 255, np.uint8)
    for i, image in enumerate(images):
        left = i * (width + GAP)
        row[:, left : left + width] = image
    return row
