"""Contrast-limited adaptive histogram equalisation with interpolated tiles."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

LEVELS = 256


def adaptive_equalisation(
    plane: np.ndarray, *, clip_limit: float, grid: tuple[int, int]
) -> np.ndarray:
    """Equalise the histogram of each tile and blend the tiles' curves (CLAHE).

    OpenCV's algorithm and parameters, made nearly continuous: an input that changes by
    a twentieth of a grey level moves the output by about one level at most. OpenCV
    rounds grey levels and gives the rest of the clipped counts to the lowest bins, so
    that one pixel may move a whole tile by a dozen levels. Here clipped counts are
    shared as fractions, and no border is added to make tiles equal.

    Args:
        plane: grey levels 0-255, not necessarily whole.
        clip_limit: most counts of a bin, in units of the mean count of a bin.
        grid: tiles (rows, columns).

    Shape:
        (H, W) float32 -> (H, W) float32.

    Reference:
        Zuiderveld, Contrast limited adaptive histogram equalization, 1994.
        Differs: clipped counts are shared once, as in OpenCV, not repeatedly.
    """
    curves = tile_curves(plane, clip_limit, grid)
    height, width = plane.shape
    rows, columns = grid
    at_row = _tile_position(height, rows)
    # One map of (grey level, tile column) serves every strip of rows.
    at_column = _tile_position(width, columns)
    out = np.empty_like(plane)
    for upper in range(max(rows - 1, 1)):
        strip = np.flatnonzero(
            np.minimum(at_row.astype(int), max(rows - 2, 0)) == upper
        )
        if strip.size == 0:
            continue
        part = slice(strip[0], strip[-1] + 1)
        levels = plane[part]
        places = np.broadcast_to(at_column, levels.shape).copy()
        above = _look_up(curves[upper], levels, places)
        if rows == 1:
            out[part] = above
            continue
        below = _look_up(curves[upper + 1], levels, places)
        below -= above
        below *= (at_row[part] - upper)[:, None]
        np.add(above, below, out=out[part])
    return out


def tile_curves(
    plane: np.ndarray, clip_limit: float, grid: tuple[int, int]
) -> np.ndarray:
    """Return each tile's grey-level curve, (rows, columns, 256) float32 in 0-255."""
    rows, columns = grid
    height, width = plane.shape
    whole = cv2.add(plane, (0, 0, 0, 0), dtype=cv2.CV_8U)
    tops = [round(i * height / rows) for i in range(rows + 1)]
    lefts = [round(j * width / columns) for j in range(columns + 1)]
    column = np.repeat(np.arange(columns, dtype=np.uint8), np.diff(lefts))
    column = np.broadcast_to(column, (max(np.diff(tops)), width)).copy()
    counts = []
    for top, end in pairwise(tops):
        # The second "channel" is the tile: one call counts a row of tiles.
        pair = [whole[top:end], column[: end - top]]
        size, ends = [LEVELS, columns], [0, LEVELS, 0, columns]
        counts.append(cv2.calcHist(pair, [0, 1], None, size, ends).T)
    counts = np.concatenate(counts).astype(np.float64)
    area = counts.sum(axis=1, keepdims=True)
    clipped = np.minimum(counts, clip_limit * area / LEVELS)
    clipped += (area - clipped.sum(axis=1, keepdims=True)) / LEVELS
    curves = np.cumsum(clipped, axis=1) * ((LEVELS - 1) / area)
    return curves.astype(np.float32).reshape(rows, columns, LEVELS)


def _tile_position(side: int, tiles: int) -> np.ndarray:
    """Return where each pixel lies between tile centres, 0 at the first of them."""
    position = (np.arange(side) + 0.5) * (tiles / side) - 0.5
    return np.clip(position, 0, tiles - 1).astype(np.float32)


def _look_up(curves: np.ndarray, levels: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate (columns, 256) curves at the given levels and tile columns."""
    return cv2.remap(
        curves, levels, columns, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
