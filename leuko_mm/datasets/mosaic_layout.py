"""Where the cells of a mosaic stand: on a grid, edge to edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from leuko_mm.classes import BACKGROUND

Tile = tuple[np.ndarray, np.ndarray]
Box = tuple[int, int, int, int]


class LaidMosaic(NamedTuple):
    """A mosaic, and the box (x0, y0, x1, y1) of each place in its pixels."""

    image: np.ndarray
    labels: np.ndarray
    boxes: list[Box]


def tile_edges(size: int, n: int) -> list[int]:
    """Return the n + 1 edges of the tiles along one side, round(i * size / n).

    Example:
        >>> tile_edges(512, 3)
        [0, 171, 341, 512]
    """
    return [round(i * size / n) for i in range(n + 1)]


def lay_grid(
    cells: Sequence[int | None],
    tile_of: Callable[[int, int, int], Tile],
    *,
    n: int,
    size: int,
    fill: int,
) -> LaidMosaic:
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
        >>> laid = lay_grid([7, None, 8, 9], grey, n=2, size=4, fill=0)
        >>> laid.image[..., 0].tolist()
        [[7, 7, 0, 0], [7, 7, 0, 0], [8, 8, 9, 9], [8, 8, 9, 9]]
        >>> laid.boxes[1]
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
    return LaidMosaic(image, labels, boxes)
