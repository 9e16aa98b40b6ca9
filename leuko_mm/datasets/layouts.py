"""Layouts of a mosaic: cells side by side on a grid, or scattered on one background.

On a grid every cell is in the middle of its tile and all borders are straight and in
the same place, which a network can learn instead of cells. ``smear.py`` has the third
layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND

# How often a free place is tried before the cells go into slots of their own.
TRIES = 60
# Lengths as shares of a tile's side. The weight of a cell's surroundings at a distance
# of d pixels is (1 + d / REACH) ** -8; a tile fades out over FADE towards a mirror
# image of its cell; no other cell comes closer to a cell than ROOM.
REACH = 1 / 16
FADE = 1 / 6
ROOM = 1 / 32
# Weight of the mean colour, which shows only where every tile has a leukocyte.
FLOOR = 1e-20

Tile = tuple[np.ndarray, np.ndarray]
Box = tuple[int, int, int, int]
Corner = tuple[int, int]


class Mosaic(NamedTuple):
    """A mosaic, and the box (x0, y0, x1, y1) of each tile in its pixels."""

    image: np.ndarray
    labels: np.ndarray
    boxes: list[Box]


def tile_edges(size: int, n: int) -> list[int]:
    """Return the n + 1 edges of the tiles along one side, round(i * size / n)."""
    return [round(i * size / n) for i in range(n + 1)]


def lay_grid(
    cells: Sequence[int | None],
    tile_of: Callable[[int, int, int], Tile],
    *,
    n: int,
    size: int,
    fill: int,
) -> Mosaic:
    """Put n x n cells beside one another, row by row.

    Args:
        cells: one a place; None leaves the place empty.
        tile_of: from (cell, height, width) to its image and labels of that size.
        n: tiles along a side.
        size: side of the mosaic in pixels.
        fill: grey level of empty places, 0-255.

    Shape:
        tiles (h, w, 3) and (h, w) -> image (size, size, 3), labels (size, size).

    Example:
        >>> grey = lambda cell, h, w: (np.full((h, w, 3), cell, "u1"), np.eye(h, w))
        >>> grid = lay_grid([7, None, 8, 9], grey, n=2, size=4, fill=0)
        >>> grid.image[..., 0].tolist()
        [[7, 7, 0, 0], [7, 7, 0, 0], [8, 8, 9, 9], [8, 8, 9, 9]]
        >>> grid.boxes[1]
        (2, 0, 4, 2)
    """
    image = np.empty((size, size, 3), dtype=np.uint8)
    labels = np.empty((size, size), dtype=np.uint8)
    edges = tile_edges(size, n)
    boxes = []
    for place, cell in enumerate(cells):
        row, column = divmod(place, n)
        y0, y1, x0, x1 = *edges[row : row + 2], *edges[column : column + 2]
        boxes.append((x0, y0, x1, y1))
        if cell is None:
            image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = fill, BACKGROUND
        else:
            tile = tile_of(cell, y1 - y0, x1 - x0)
            image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = tile
    return Mosaic(image, labels, boxes)


def lay_scattered(
    tiles: Sequence[Tile], *, n: int, size: int, rng: np.random.Generator
) -> Mosaic:
    """Put cells at random places of one background that is blended from the tiles.

    Every cell has the size that it has in its tile, and none overlaps another. A cell
    that its tile cuts off is put at the border of the mosaic. Where cells are too
    large to find a free place, each moves within a slot of its own.

    Args:
        tiles: at most n x n images with their labels, all squares of one side.
        n: the tiles' side is that of n on a side of the mosaic, ``size // n``.
        size: side of the mosaic in pixels.
        rng: of the places.

    Returns:
        The mosaic; a cell's box holds its labelled pixels and those of no other cell.
        All labels are exact, and so is the image where there is a label.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).
    """
    side = size // n
    boxes = [cell_box(labels) for _, labels in tiles]
    room = max(1, round(ROOM * side))
    corners = _free_places(boxes, side, size, room, rng)
    if corners is None:
        corners = _slots(boxes, n, side, rng)
    return paint_tiles(tiles, corners, size=size, room=room)


def cell_box(labels: np.ndarray) -> Box:
    """Return the box of all labelled pixels; of an empty tile, its middle pixel."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        y, x = labels.shape[0] // 2, labels.shape[1] // 2
        return x, y, x + 1, y + 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _free_places(
    boxes: Sequence[Box], side: int, size: int, room: int, rng
) -> list[Corner] | None:
    """Return the upper left corner of each tile, or None if a cell finds no place."""
    corners: dict[int, Corner] = {}
    taken: list[Box] = []
    for cell in sorted(range(len(boxes)), key=lambda i: -_area(boxes[i])):
        x0, y0, x1, y1 = boxes[cell]
        for _ in range(TRIES):
            x = draw_start(x0, x1, side, size, rng)
            y = draw_start(y0, y1, side, size, rng)
            box = (x - room, y - room, x + x1 - x0 + room, y + y1 - y0 + room)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                corners[cell] = (x - x0, y - y0)
                break
        else:
            return None
    return [corners[cell] for cell in range(len(boxes))]


def draw_start(start: int, end: int, side: int, size: int, rng) -> int:
    """Return where along one axis of the mosaic a cell begins.

    Args:
        start, end: of the cell in its tile.
        side: of the tile. A cell that the tile cuts off begins or ends at the border
            of the mosaic; elsewhere the cut would be an edge in the picture.
        size: of the mosaic.
        rng: of the place.
    """
    last = max(0, size - (end - start))
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _slots(boxes: Sequence[Box], n: int, side: int, rng) -> list[Corner]:
    """Return corners that put each cell somewhere into a slot of its own."""
    corners = []
    for slot, (x0, y0, x1, y1) in zip(rng.permutation(n * n), boxes, strict=False):
        row, column = divmod(int(slot), n)
        x = column * side + int(rng.integers(0, side - (x1 - x0) + 1))
        y = row * side + int(rng.integers(0, side - (y1 - y0) + 1))
        corners.append((x - x0, y - y0))
    return corners


def paint_tiles(
    tiles: Sequence[Tile],
    corners: Sequence[Corner],
    *,
    size: int,
    room: int,
    shown: Sequence[np.ndarray] | None = None,
) -> Mosaic:
    """Blend one background from all tiles, and paint their cells on it.

    The background is a weighted mean of the tiles, each mirrored over the whole
    mosaic: near a cell its own surroundings, between two cells a smooth change.
    Leukocytes are left out of it.

    Args:
        tiles: images with their labels, all squares of one side.
        corners: (x, y) of each tile's upper left corner in the mosaic; a tile may
            reach beyond it, and is cut off there.
        size: side of the mosaic in pixels.
        room: pixels around a cell over which no other tile's surroundings begin.
        shown: which pixels of each tile are painted; None: all that are labelled.
            Labelled pixels that are not shown appear nowhere.

    Returns:
        The mosaic; where two cells meet, the later one is in front. A box holds what
        is shown of its tile, as far as it is in the mosaic.

    Shape:
        tiles (h, h, 3) and (h, h), shown (h, h) bool -> image (size, size, 3), labels
        (size, size).
    """
    image = _mean_background(tiles, size)
    weights = np.full((size, size), FLOOR, np.float32)
    labels = np.full((size, size), BACKGROUND, np.uint8)
    if shown is None:
        shown = [mask != BACKGROUND for _, mask in tiles]
    for tile, own, corner in zip(tiles, shown, corners, strict=True):
        image, weights = _blended(image, weights, tile, corner, room, own)
    boxes = []
    for (cell, mask), own, corner in zip(tiles, shown, corners, strict=True):
        on_mosaic, on_tile = common_area(corner, mask.shape, size)
        painted = own[on_tile]
        image[on_mosaic][painted] = cell[on_tile][painted]
        labels[on_mosaic][painted] = mask[on_tile][painted]
        (x, y), (x0, y0, x1, y1) = corner, cell_box(own)
        inside = (x + x0, y + y0, x + x1, y + y1)
        boxes.append(tuple(min(max(0, edge), size) for edge in inside))
    return Mosaic(image, labels, boxes)


def common_area(corner: Corner, shape: tuple[int, int], size: int):
    """Return the pixels that a tile at ``corner`` shares with a mosaic.

    Returns:
        Two index expressions of the same pixels: for the mosaic, and for the tile.
    """
    (x, y), (height, width) = corner, shape
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = max(y0, min(size, y + height)), max(x0, min(size, x + width))
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]


def _mean_background(tiles: Sequence[Tile], size: int) -> np.ndarray:
    """Return an image of the mean colour of all backgrounds, or of light grey."""
    colours = [
        cv2.mean(cell, (mask == BACKGROUND).view("u1"))[:3]
        for cell, mask in tiles
        if (mask == BACKGROUND).any()
    ]
    colour = np.mean(colours, axis=0) if colours else np.full(3, 230)
    return np.full((size, size, 3), np.round(colour), np.uint8)


def _blended(image, weights, tile: Tile, corner: Corner, room: int, shown: np.ndarray):
    """Add a tile, mirrored over the whole mosaic, to the weighted mean so far."""
    cell, mask = tile
    size, side, (x, y) = len(image), len(mask), corner
    marked, shown = (mask != BACKGROUND).view("u1"), shown.astype("u1")
    if not marked.any():  # distances need something to count from
        marked[side // 2, side // 2] = shown[side // 2, side // 2] = 1
    rows, columns = (_mirrored(np.arange(size) - start, side) for start in (y, x))
    on_mosaic, on_tile = common_area(corner, mask.shape, size)
    own, mirrored = np.ones((size, size), np.uint8), 1 - marked[rows][:, columns]
    own[on_mosaic] = 1 - shown[on_tile]
    # What is shown is painted over; any other leukocyte must fade out, as a mirror
    # image does.
    mirrored[on_mosaic] |= shown[on_tile]
    if not shown.any():
        own[:] = mirrored
    away = _distance(own) / (REACH * side)
    # The fade is raised to a power like the distance, or it would show as an edge
    # wherever the other tiles weigh a thousandth.
    clear = np.clip((_distance(mirrored) - room) / (FADE * side), 0, 1)
    weight = clear / (1 + away)
    for _ in range(3):  # to the power of 8
        np.square(weight, out=weight)
    total = weights + weight
    share = weight / total
    return cv2.blendLinear(image, cell[rows][:, columns], 1 - share, share), total


def _distance(clear: np.ndarray) -> np.ndarray:
    """Return the distance in pixels to the nearest 0; large where there is none."""
    if clear.all():
        return np.full(clear.shape, 2.0 * len(clear), np.float32)
    return cv2.distanceTransform(clear, cv2.DIST_L2, 3)


def _mirrored(positions: np.ndarray, side: int) -> np.ndarray:
    """Return positions on an endless row of mirror images, as positions in one."""
    turn = np.mod(positions, 2 * side)
    return np.minimum(turn, 2 * side - 1 - turn)
