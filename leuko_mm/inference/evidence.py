"""What is kept of a network's probabilities until the cells are known."""

from __future__ import annotations

import math

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND

# Bytes of class probabilities that are kept of one image.
LIMIT = 2**27


class Evidence:
    """Where there are cells, and how probable each class is, in bounded memory.

    Foreground, any class against background, is kept for every pixel. Probabilities
    are kept in 255 steps, of every pixel where that fits into ``limit`` bytes, else
    as means of square blocks of pixels.

    Args:
        shape: height and width.
        classes: how many, background included.
        limit: bytes of probabilities.

    Example:
        >>> evidence = Evidence((4, 6), 2)
        >>> evidence.add(0, np.stack([np.zeros((4, 6)), np.ones((4, 6))]))
        >>> evidence.foreground.all(), evidence.block
        (np.True_, 1)
    """

    def __init__(self, shape: tuple[int, int], classes: int, *, limit: int = LIMIT):
        self.shape = shape
        self.block = max(1, math.ceil(math.sqrt(classes * math.prod(shape) / limit)))
        self.foreground = np.zeros(shape, np.uint8)
        blocks = (-(-side // self.block) for side in shape)
        self._kept = np.zeros((classes, *blocks), np.uint8)
        self._pending: np.ndarray | None = None

    def add(self, first: int, band: np.ndarray) -> None:
        """Take in the probabilities (C, rows, W) of some rows, from the top down."""
        rows = band.shape[1]
        # The classes share what is not background: a cell is one, of whatever class.
        cell = band[BACKGROUND] < 0.5
        self.foreground[first : first + rows] = cell
        if self._pending is not None:
            band = np.concatenate([self._pending, band], axis=1)
            first -= self._pending.shape[1]
        ends = first + band.shape[1] == self.shape[0]
        whole = band.shape[1] if ends else band.shape[1] // self.block * self.block
        self._pending = None if ends else band[:, whole:].copy()
        if not whole:
            return  # not one row of blocks yet
        for kept, plane in zip(self._kept, band[:, :whole], strict=True):
            means = _block_means(plane, self.block) if self.block > 1 else plane
            start = first // self.block
            kept[start : start + len(means)] = np.rint(255 * means)

    def sums(self, box: tuple[int, int, int, int], mask: np.ndarray) -> np.ndarray:
        """Return the summed probability of every class over the pixels of a cell.

        Args:
            box: x0, y0, x1, y1, ends excluded.
            mask: (y1 - y0, x1 - x0) bool.

        Shape:
            -> (C,) float64.
        """
        x0, y0, _, _ = box
        rows, columns = np.nonzero(mask)
        at = (rows + y0) // self.block, (columns + x0) // self.block
        return self._kept[:, at[0], at[1]].sum(axis=1, dtype=np.float64) / 255


def _block_means(plane: np.ndarray, block: int) -> np.ndarray:
    rows, columns = (-side % block for side in plane.shape)
    # The last row and column of blocks may reach beyond the image.
    whole = cv2.copyMakeBorder(plane, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // block, whole.shape[0] // block)
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
