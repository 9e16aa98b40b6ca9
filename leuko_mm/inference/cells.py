"""From foreground to single cells: connected pieces, and where two cells touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

# A piece is two cells where its waist is narrower than this share of the narrower
# cell: round cells that just overlap stay below, one kidney-shaped cell above.
WAIST = 0.75
# Of a red cell's diameter: a leukocyte's half width is more.
SEED = 0.3
STRIP = 2048
LEVELS = 24


class CellMask(NamedTuple):
    """The pixels of one cell: its box x0, y0, x1, y1 and what belongs to it there."""

    box: tuple[int, int, int, int]
    mask: np.ndarray


def find_cell_masks(
    foreground: np.ndarray, *, red_cell_px: float, min_area: float
) -> Iterator[CellMask]:
    """Yield the cells of an image, row by row; the foreground is used up by it.

    Args:
        foreground: (H, W) uint8, not 0 in cells; it is erased on the way.
        red_cell_px: diameter of a red cell in its pixels, the measure of what can be
            a cell of its own within a piece.
        min_area: smaller pieces are specks, platelets or dirt, in pixels; half of
            that at the border of the image.
    """
    for piece in _pieces(foreground):
        for part in split_touching(piece, seed_px=SEED * red_cell_px):
            area = int(part.mask.sum())
            cut = touches_border(part.box, foreground.shape)
            if area >= (min_area / 2 if cut else min_area):
                yield part


def touches_border(box: tuple[int, int, int, int], shape: tuple[int, int]) -> bool:
    """Tell whether a box reaches the border of an image (H, W).

    Example:
        >>> touches_border((1, 1, 4, 5), (5, 5)), touches_border((1, 1, 4, 4), (5, 5))
        (True, False)
    """
    x0, y0, x1, y1 = box
    return x0 <= 0 or y0 <= 0 or x1 >= shape[1] or y1 >= shape[0]


def _pieces(foreground: np.ndarray, strip: int = STRIP) -> Iterator[CellMask]:
    """Yield the connected pieces (8 neighbours), looking at some rows at a time.

    A piece that does not end within a strip is looked at again in the next, which
    begins where it begins. One that is taller than a strip is cut there: no cell is.
    """
    height = foreground.shape[0]
    start = 0
    while start < height:
        stop = min(height, start + strip)
        rows = foreground[start:stop]
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            rows, connectivity=8, ltype=cv2.CV_32S
        )
        tops = stats[1:, cv2.CC_STAT_TOP]
        bottoms = tops + stats[1:, cv2.CC_STAT_HEIGHT]
        open_tops = tops[bottoms == stop - start] if stop < height else tops[:0]
        following = int(open_tops.min()) if len(open_tops) else stop - start
        if following == 0:
            following = stop - start
        for number in 1 + np.flatnonzero(tops < following):
            x0, y0, w, h, _ = (int(v) for v in stats[number])
            there = (slice(y0, y0 + h), slice(x0, x0 + w))
            mask = labels[there] == number
            rows[there][mask] = 0
            yield CellMask((x0, start + y0, x0 + w, start + y0 + h), mask)
        start += following


def split_touching(piece: CellMask, *, seed_px: float) -> list[CellMask]:
    """Return the cells of a piece: one, or several where it has a narrow waist.

    Every cell has a place that is farthest from the outside. Two such places are
    two cells where the widest way from one to the other is narrower than ``WAIST``
    times the narrower of them; a watershed from those places divides the piece.

    Args:
        piece: connected.
        seed_px: half width that a cell has at least, in pixels.
    """
    x0, y0, _, _ = piece.box
    padded = np.pad(piece.mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    seeds = _seeds(distance, padded > 0, seed_px)
    if len(seeds) < 2:
        return [piece]
    parts = _flooded(distance, seeds)[1:-1, 1:-1]
    found = []
    for number in range(1, len(seeds) + 1):
        left, top, width, tall = cv2.boundingRect((parts == number).astype(np.uint8))
        mask = parts[top : top + tall, left : left + width] == number
        box = (x0 + left, y0 + top, x0 + left + width, y0 + top + tall)
        found.append(CellMask(box, mask))
    return found


def _flooded(distance: np.ndarray, seeds: list[tuple[int, int]]) -> np.ndarray:
    """Return the number of a seed for every pixel of a piece, 0 outside of it.

    The watershed of the distance to the outside: from the highest level down, what
    comes up goes to the nearest pixel that has a seed.
    """
    owner = np.zeros(distance.shape, np.int32)
    for number, (row, column) in enumerate(seeds, start=1):
        owner[row, column] = number
    for level in np.linspace(distance.max(), 0, LEVELS):
        _, nearest = cv2.distanceTransformWithLabels(
            (owner == 0).astype(np.uint8),
            cv2.DIST_L2,
            5,
            labelType=cv2.DIST_LABEL_PIXEL,
        )
        numbers = np.zeros(nearest.max() + 1, np.int32)
        numbers[nearest[owner > 0]] = owner[owner > 0]
        risen = (owner == 0) & (distance > level)
        owner[risen] = numbers[nearest[risen]]
    return owner


def _seeds(
    distance: np.ndarray, region: np.ndarray, least: float
) -> list[tuple[int, int]]:
    """Return the middle (row, column) of every cell in a region, at least one."""
    inner = np.where(region, distance, 0)
    peak = float(inner.max())
    for level in np.linspace(0.1, WAIST, 27) * peak:
        count, parts = cv2.connectedComponents((inner > level).astype(np.uint8))
        tallest = [float(inner[parts == n].max()) for n in range(1, count)]
        enough = max(least, level / WAIST)
        own = [n for n, height in enumerate(tallest, start=1) if height >= enough]
        if len(own) > 1:
            return [s for n in own for s in _seeds(distance, parts == n, least)]
    return [np.unravel_index(int(inner.argmax()), inner.shape)]
