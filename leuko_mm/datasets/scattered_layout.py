"""Where the cells of a mosaic stand: anywhere, on one background without seams.

On a grid every cell is in the middle of its tile and every border is straight and
in the same place, which a network can learn instead of cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.mosaic_layout import Box, LaidMosaic, Tile

# How often a free place is looked for before the cells go into slots of their own.
TRIES = 60
# How fast a cell's surroundings give way to those of the next cell: the weight at a
# distance of d pixels is (1 + d / REACH of the tile's side) ** -8.
REACH = 1 / 16
# Over which share of the side a tile fades out towards a mirror image of its cell.
FADE = 1 / 6
# Of the mean colour, which is seen only where every tile shows a leukocyte.
FLOOR = 1e-20
# Room around each cell that no other one enters, as a share of the tile's side.
ROOM = 1 / 32


def lay_scattered(
    tiles: Sequence[Tile], *, n: int, size: int, rng: np.random.Generator
) -> LaidMosaic:
    """Put cells at random places of one background that is blended of their own.

    Every cell has the size that it has in its tile, and none overlaps another; one
    that its tile cuts off stands at the border of the mosaic. Where cells are so large
    that no free place is found, each moves within a slot of its own. Every other pixel
    is the blend of the tiles, mirrored over the whole mosaic: near a cell its own
    surroundings, between two cells a smooth change. Leukocytes do not enter the blend.

    Args:
        tiles: at most n x n images with their labels, all squares of one side.
        n: the tiles' side is that of n on a side of the mosaic, ``size // n``.
        size: side of the mosaic in pixels.
        rng: of the places.

    Returns:
        The mosaic; a cell's box holds its labelled pixels and those of no other cell.
        The labels are exact, and so is the image wherever a label stands.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).

    Example:
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 8), np.uint8)
        >>> image[3:5, 3:5], labels[3:5, 3:5] = 90, 5
        >>> rng = np.random.default_rng(0)
        >>> laid = lay_scattered([(image, labels)] * 3, n=2, size=16, rng=rng)
        >>> (laid.labels == 5).sum(), (laid.image[laid.labels == 5] == 90).all()
        (np.int64(12), np.True_)
    """
    side = size // n
    inside = [cell_box(labels) for _, labels in tiles]
    room = max(1, round(ROOM * side))
    corners = _free_places(inside, side, size, room, rng)
    if corners is None:
        corners = _slots(inside, n, side, rng)
    return paint_tiles(tiles, corners, size=size, room=room)


def paint_tiles(
    tiles: Sequence[Tile],
    corners: Sequence[tuple[int, int]],
    *,
    size: int,
    room: int,
    kept: Sequence[np.ndarray] | None = None,
) -> LaidMosaic:
    """Paint one background of all tiles, and their cells on it.

    Args:
        tiles: images with their labels, all squares of one side.
        corners: (x, y) of each tile's upper left corner in the mosaic; a tile may
            reach beyond it, and is cut off there.
        size: side of the mosaic in pixels.
        room: pixels around a cell over which no other tile's surroundings begin.
        kept: which pixels of each tile are painted where they stand; None: all that
            are labelled. Labelled pixels that are not kept are shown nowhere.

    Returns:
        The mosaic; where two cells meet, the later one stands in front. A box holds
        what is kept of its tile, as far as it is in the mosaic.

    Shape:
        tiles (h, h, 3) and (h, h), kept (h, h) bool -> image (size, size, 3), labels
        (size, size).
    """
    image = _background(tiles, size)
    weights = np.full((size, size), FLOOR, np.float32)
    labels = np.full((size, size), BACKGROUND, np.uint8)
    if kept is None:
        kept = [mask != BACKGROUND for _, mask in tiles]
    for tile, own, corner in zip(tiles, kept, corners, strict=True):
        image, weights = _blended(image, weights, tile, corner, room, own)
    boxes = []
    for (cell, mask), own, corner in zip(tiles, kept, corners, strict=True):
        on_mosaic, on_tile = _seen(corner, len(mask), size)
        shown = own[on_tile]
        image[on_mosaic][shown] = cell[on_tile][shown]
        labels[on_mosaic][shown] = mask[on_tile][shown]
        boxes.append(_within(cell_box(own), corner, size))
    return LaidMosaic(image, labels, boxes)


def _within(box: Box, corner: tuple[int, int], size: int) -> Box:
    (x, y), (x0, y0, x1, y1) = corner, box
    return (
        *(min(max(0, start), size) for start in (x + x0, y + y0)),
        *(min(max(0, end), size) for end in (x + x1, y + y1)),
    )


def cell_box(labels: np.ndarray) -> Box:
    """Return the box of all labelled pixels; of an empty tile, its middle pixel."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        y, x = labels.shape[0] // 2, labels.shape[1] // 2
        return x, y, x + 1, y + 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _free_places(
    inside: Sequence[Box], side: int, size: int, room: int, rng
) -> list[tuple[int, int]] | None:
    """Return the upper left corner of each tile, or None if a cell finds no place."""
    corners: dict[int, tuple[int, int]] = {}
    taken: list[Box] = []
    by_extent = sorted(range(len(inside)), key=lambda i: -_extent(inside[i]))
    for cell in by_extent:
        x0, y0, x1, y1 = inside[cell]
        for _ in range(TRIES):
            x = _drawn_start(x0, x1, side, size, rng)
            y = _drawn_start(y0, y1, side, size, rng)
            box = (x - room, y - room, x + x1 - x0 + room, y + y1 - y0 + room)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                corners[cell] = (x - x0, y - y0)
                break
        else:
            return None
    return [corners[cell] for cell in range(len(inside))]


def _drawn_start(start: int, end: int, side: int, size: int, rng) -> int:
    """Return where along one axis a cell begins.

    One that its tile cuts off is cut off by the mosaic as well: anywhere else, the
    cut would be an edge in the middle of the picture.
    """
    last = size - (end - start)
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _extent(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _slots(inside, n: int, side: int, rng) -> list[tuple[int, int]]:
    """Return corners that put each cell somewhere into a slot of its own."""
    corners = []
    for slot, (x0, y0, x1, y1) in zip(rng.permutation(n * n), inside, strict=False):
        row, column = divmod(int(slot), n)
        x = column * side + int(rng.integers(0, side - (x1 - x0) + 1))
        y = row * side + int(rng.integers(0, side - (y1 - y0) + 1))
        corners.append((x - x0, y - y0))
    return corners


def _background(tiles: Sequence[Tile], size: int) -> np.ndarray:
    """Return the mean colour of all backgrounds, for where no tile has any."""
    bare = [
        cv2.mean(cell, (mask == BACKGROUND).view("u1"))[:3]
        for cell, mask in tiles
        if (mask == BACKGROUND).any()
    ]
    colour = np.mean(bare, axis=0) if bare else np.full(3, 230)
    return np.full((size, size, 3), np.round(colour), np.uint8)


def _blended(image, weights, tile: Tile, corner, room: int, kept: np.ndarray):
    """Add a tile, mirrored over the whole mosaic, to the weighted mean so far."""
    cell, mask = tile
    size, side, (x, y) = len(image), len(mask), corner
    marked, kept = (mask != BACKGROUND).view("u1"), kept.astype("u1")
    if not marked.any():  # distances need something to count from
        marked[side // 2, side // 2] = kept[side // 2, side // 2] = 1
    rows, columns = (_mirrored(np.arange(size) - start, side) for start in (y, x))
    on_mosaic, on_tile = _seen(corner, side, size)
    own, mirrored = np.ones((size, size), np.uint8), 1 - marked[rows][:, columns]
    own[on_mosaic] = 1 - kept[on_tile]
    # What is kept is painted over; the rest is as foreign here as a mirror image.
    mirrored[on_mosaic] |= kept[on_tile]
    if not kept.any():
        own[:] = mirrored
    away = _distance(own) / (REACH * side)
    # The fade is raised like the distance, or it would show as an edge wherever the
    # other tiles weigh a thousandth.
    clear = np.clip((_distance(mirrored) - room) / (FADE * side), 0, 1)
    weight = clear / (1 + away)
    for _ in range(3):  # to the power of 8
        np.square(weight, out=weight)
    total = weights + weight
    share = weight / total
    shown = cell[rows][:, columns]
    return cv2.blendLinear(image, shown, 1 - share, share), total


def _distance(clear: np.ndarray) -> np.ndarray:
    """Return how many pixels each one is from the nearest 0; far, where there is none.

    Args:
        clear: uint8 of 0 and 1.
    """
    if clear.all():
        return np.full(clear.shape, 2.0 * len(clear), np.float32)
    return cv2.distanceTransform(clear, cv2.DIST_L2, 3)


def _mirrored(positions: np.ndarray, side: int) -> np.ndarray:
    """Return positions on an endless row of mirror images, as positions in one."""
    turn = np.mod(positions, 2 * side)
    return np.minimum(turn, 2 * side - 1 - turn)


def _seen(corner, side: int, size: int):
    """Return the part of the mosaic that a tile covers, and that part of the tile."""
    x, y = corner
    y0, y1, x0, x1 = max(0, y), min(size, y + side), max(0, x), min(size, x + side)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
