"""Mosaics like fields of a smear: few cells or none, touching, cut off, platelets.

Prepared cells stand alone in the middle of their image. A network that learns from
nothing else takes every purple thing for a leukocyte, and two that touch for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.common_light import in_common_light
from leuko_mm.datasets.mosaic_layout import LaidMosaic, Tile
from leuko_mm.datasets.platelets import paint_platelets
from leuko_mm.datasets.scattered_layout import ROOM, cell_box, paint_tiles

# How far a cell is moved, as a share of its side, until it only touches another.
STEP = 1 / 40
# Share of a cell that a neighbour may hide.
HIDDEN = 0.05


@dataclass(frozen=True)
class SmearOdds:
    """How often a smear is composed in which way.

    Args:
        bare: share of the mosaics without any leukocyte.
        touching: probability that a cell is put against another one.
        cut: probability that a cell is cut off by the mosaic's border.
        platelets: how many of them a cell's area, on the average.
        light: probability that all cells of a mosaic are brought into one light.

    Raises:
        ValueError: if a probability is none, or the number is below 0.
    """

    bare: float = 0.08
    touching: float = 0.3
    cut: float = 0.2
    platelets: float = 1.5
    light: float = 0.8

    def __post_init__(self):
        """Refuse what is no probability."""
        shares = (self.bare, self.touching, self.cut)
        together = self.touching + self.cut
        shares += (self.light,)
        numbers = (*shares, self.platelets)
        if min(numbers) < 0 or max(*shares, together) > 1:
            raise ValueError(
                f"{self}; expected probabilities, of which touching and cut together "
                "are at most 1, and 0 or more platelets"
            )


def lay_smear(
    tiles: Sequence[Tile],
    *,
    n: int,
    size: int,
    rng: np.random.Generator,
    odds: SmearOdds | None = None,
) -> LaidMosaic:
    """Put one cell or several, or none, on a background blended of all tiles.

    A cell stands alone, against another one, or is cut off by the border; one that its
    own tile cuts off stands at the border with that side. Platelets are painted where
    no leukocyte is; they are background.

    Args:
        tiles: at most n x n images with their labels, all squares of one side.
        n: the tiles' side is that of n on a side of the mosaic, ``size // n``.
        size: side of the mosaic in pixels.
        rng: of everything that is drawn.
        odds: None takes the usual ones.

    Returns:
        The mosaic, with a box for every tile; that of a cell that is not shown, or
        that found no place, is empty.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).

    Example:
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 8), np.uint8)
        >>> image[3:5, 3:5], labels[3:5, 3:5] = 90, 5
        >>> rng, bare = np.random.default_rng(0), SmearOdds(bare=1, platelets=0)
        >>> laid = lay_smear([(image, labels)] * 3, n=2, size=16, rng=rng, odds=bare)
        >>> laid.labels.any(), laid.boxes[0], laid.image.min()
        (np.False_, (0, 0, 0, 0), np.uint8(200))
    """
    odds = odds or SmearOdds()
    side = size // n
    if rng.random() < odds.light:
        tiles = in_common_light(tiles, leader=int(rng.integers(len(tiles))))
    shown = 0 if rng.random() < odds.bare else int(rng.integers(1, len(tiles) + 1))
    taken = np.zeros((size, size), bool)
    corners, kept = [], []
    for number, (_, labels) in enumerate(tiles):
        corner, cell = None, main_piece(labels)
        if number < shown:
            corner = _place(cell, taken, odds=odds, rng=rng)
        if corner is None:
            corner = tuple(int(v) for v in rng.integers(1 - side, size, 2))
            kept.append(np.zeros_like(cell))
        else:
            kept.append(cell | (labels == IGNORE_LABEL))
        corners.append(corner)
    room = max(1, round(ROOM * side))
    laid = paint_tiles(tiles, corners, size=size, room=room, kept=kept)
    count = int(rng.poisson(odds.platelets * n * n))
    paint_platelets(laid.image, laid.labels, tiles, count=count, rng=rng)
    nowhere = (0, 0, 0, 0)
    boxes = [
        box if own.any() else nowhere for own, box in zip(kept, laid.boxes, strict=True)
    ]
    return LaidMosaic(laid.image, laid.labels, boxes)


def main_piece(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of the largest connected leukocyte of a tile.

    Augmentation mirrors what it needs beyond the tile, and with it pieces of the cell,
    cut off by straight edges.

    Shape:
        (H, W) -> (H, W) bool.

    Example:
        >>> main_piece(np.array([[3, 0, 3, 3, 255]], np.uint8)).tolist()
        [[False, False, True, True, False]]
    """
    cells = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(cells.view("u1"))
    if count < 2:
        return cells
    return pieces == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())


def _place(marked: np.ndarray, taken: np.ndarray, *, odds: SmearOdds, rng):
    """Return where a tile's corner comes to lie and mark its cell as taken, or None."""
    if not marked.any():
        return None
    side, (x0, y0, x1, y1) = len(marked), cell_box(marked)
    way = rng.random()
    whole = min(x0, y0) > 0 and max(x1, y1) < side
    for _ in range(20):
        if whole and way < odds.touching and taken.any():
            found = _against(marked[y0:y1, x0:x1], taken, rng)
        elif whole and way < odds.touching + odds.cut:
            found = _cut_off(x1 - x0, y1 - y0, len(taken), rng)
        else:
            found = _anywhere((x0, y0, x1, y1), side, len(taken), rng)
        if found is None:
            continue
        corner = (found[0] - x0, found[1] - y0)
        if _overlap(marked, taken, corner) <= HIDDEN * marked.sum():
            _mark(marked, taken, corner)
            return corner
    return None


def _anywhere(box, side: int, size: int, rng) -> tuple[int, int]:
    x0, y0, x1, y1 = box
    return _start(x0, x1, side, size, rng), _start(y0, y1, side, size, rng)


def _start(start: int, end: int, side: int, size: int, rng) -> int:
    last = max(0, size - (end - start))
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _cut_off(width: int, height: int, size: int, rng) -> tuple[int, int]:
    """Return the corner of a box of which the border hides 15 to 70 %."""
    corner = [int(rng.integers(0, max(1, size - s + 1))) for s in (width, height)]
    axis, lost = int(rng.integers(2)), rng.uniform(0.15, 0.7)
    extent = (width, height)[axis]
    before = -round(lost * extent)
    corner[axis] = before if rng.random() < 0.5 else size - extent - before
    return corner[0], corner[1]


def _against(cell: np.ndarray, taken: np.ndarray, rng) -> tuple[int, int] | None:
    """Return the corner at which a cell just touches what is there, on a drawn side."""
    rows, columns = np.nonzero(taken)
    pick = int(rng.integers(len(rows)))
    angle = rng.uniform(0, 2 * np.pi)
    step = max(1.0, STEP * max(cell.shape))
    height, width = cell.shape
    for away in np.arange(0, 2 * max(cell.shape), step):
        x = round(columns[pick] + away * np.cos(angle) - width / 2)
        y = round(rows[pick] + away * np.sin(angle) - height / 2)
        if _overlap(cell, taken, (x, y)) <= HIDDEN * cell.sum():
            inside = 0 <= x <= len(taken) - width and 0 <= y <= len(taken) - height
            return (x, y) if inside else None
    return None


def _overlap(marked: np.ndarray, taken: np.ndarray, corner) -> int:
    on_mosaic, on_tile = _shared(marked, len(taken), corner)
    return int((marked[on_tile] & taken[on_mosaic]).sum())


def _mark(marked: np.ndarray, taken: np.ndarray, corner) -> None:
    on_mosaic, on_tile = _shared(marked, len(taken), corner)
    taken[on_mosaic] |= marked[on_tile]


def _shared(marked: np.ndarray, size: int, corner):
    (x, y), (height, width) = corner, marked.shape
    y0, y1, x0, x1 = max(0, y), min(size, y + height), max(0, x), min(size, x + width)
    y1, x1 = max(y0, y1), max(x0, x1)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
