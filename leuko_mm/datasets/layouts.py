"""Put tiles together: side by side on a grid, or on one blended background.

On a grid every cell is in the middle of its tile and all borders are straight and in
the same place, which a network can learn instead of cells. ``smear.py`` decides where
cells are on a blended background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND

# Lengths as shares of a tile's side. The weight of a cell's surroundings at a distance
# of d pixels is (1 + d / REACH) ** -8; a tile fades out over FADE towards a mirror
# image of its cell, and is not shown within ROOM of it.
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


def cell_box(labels: np.ndarray) -> Box:
    """Return the box of all labelled pixels, of which there is one at least."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def paint_tiles(
    tiles: Sequence[Tile],
    corners: Sequence[Corner],
    *,
    size: int,
    shown: Sequence[np.ndarray],
) -> Mosaic:
    """Blend one background from all tiles, and paint their cells on it.

    The background is a weighted mean of the tiles, each mirrored over the whole
    mosaic: near a cell its own surroundings, between two cells a smooth change.
    Leukocytes are left out of it. Where two cells meet, the later one is in front. The
    box of a cell that is not shown is empty.

    Args:
        tiles: images with their labels, all squares of one side.
        corners: (x, y) of each tile's upper left corner in the mosaic; a tile may
            reach beyond it, and is cut off there.
        size: side of the mosaic in pixels.
        shown: bool (h, h), which labelled pixels of each tile are painted; the others
            appear nowhere.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).
    """
    image = _mean_background(tiles, size)
    weights = np.full((size, size), FLOOR, np.float32)
    labels = np.full((size, size), BACKGROUND, np.uint8)
    for tile, own, corner in zip(tiles, shown, corners, strict=True):
        image, weights = _blended(image, weights, tile, corner, own)
    boxes = []
    for (cell, mask), own, corner in zip(tiles, shown, corners, strict=True):
        on_mosaic, on_tile = common_area(corner, mask.shape, size)
        painted = own[on_tile]
        image[on_mosaic][painted] = cell[on_tile][painted]
        labels[on_mosaic][painted] = mask[on_tile][painted]
        if own.any():
            (x, y), (x0, y0, x1, y1) = corner, cell_box(own)
            edges = (x + x0, y + y0, x + x1, y + y1)
            boxes.append(tuple(min(max(0, edge), size) for edge in edges))
        else:
            boxes.append((0, 0, 0, 0))
    return Mosaic(image, labels, boxes)


def common_area(corner: Corner, shape: tuple[int, int], size: int):
    """Return the pixels that a tile at ``corner`` shares with a mosaic, as two index
    expressions: of the mosaic, and of the tile.
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


def _blended(image, weights, tile: Tile, corner: Corner, shown: np.ndarray):
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
    room = max(1, round(ROOM * side))
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
