"""Where a cell's image lies in the field that it was cut from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL


@dataclass(frozen=True)
class Place:
    """The place of a cell's image in its field: ``parent,x,y,scale`` of the index.

    Positions are lengths from the upper left corner of the picture, not from the
    middle of its first pixel: the middle of the pixel in column c lies at c + 0.5.

    Args:
        parent: stem of the field's row.
        x: of the cell's upper left corner in the field, in field pixels.
        y: the same, downwards.
        scale: pixels of the cell's image per pixel of the field; 0.5 where the
            cell shows its field at half size.

    Raises:
        ValueError: if the parent is empty, a number not finite, or the scale not
            above 0.
    """

    parent: str
    x: float
    y: float
    scale: float

    def __post_init__(self):
        """Refuse numbers that place nothing."""
        finite = all(map(math.isfinite, (self.x, self.y, self.scale)))
        if not self.parent or not finite or self.scale <= 0:
            raise ValueError(
                f"place {self.columns()}; expected a field's stem, two finite "
                "numbers and a scale above 0"
            )

    def to_field(self, u: float, v: float) -> tuple[float, float]:
        """Return where a point (u, v) of the cell's image lies in the field.

        Example:
            >>> Place("baso_1-1", 1079, 309, 0.5).to_field(128, 128)
            (1335.0, 565.0)
        """
        return self.x + u / self.scale, self.y + v / self.scale

    def columns(self) -> tuple[str, str, str, str]:
        """Return what stands in the index.

        Example:
            >>> Place("baso_1-1", 1079.0, 309.25, 0.5).columns()
            ('baso_1-1', '1079', '309.25', '0.5')
        """
        numbers = (float(value) for value in (self.x, self.y, self.scale))
        return (self.parent, *(repr(n).removesuffix(".0") for n in numbers))


def parse_place(parent: str, x: str, y: str, scale: str) -> Place | None:
    """Return the place that the columns of an index name, None if they are empty.

    Raises:
        ValueError: if some are empty and others are not, or if they place nothing.

    Example:
        >>> parse_place("baso_1-1", "1079", "309", "0.5")
        Place(parent='baso_1-1', x=1079.0, y=309.0, scale=0.5)
    """
    columns = (parent, x, y, scale)
    if not any(columns):
        return None
    if not all(columns):
        raise ValueError(f"parent,x,y,scale are {columns}; give all four or none")
    return Place(parent, float(x), float(y), float(scale))


def field_labels(
    shape: tuple[int, int], cells: Iterable[tuple[np.ndarray, Place]]
) -> np.ndarray:
    """Put the masks of cells back into their field.

    A field pixel takes the label under its middle (nearest). What no cell's image
    shows is ``IGNORE_LABEL``: nobody has drawn there, and a leukocyte that was not
    cut out must not count as background. Where images overlap, a leukocyte in one
    of them stands before the background of the other.

    Args:
        shape: height and width of the field.
        cells: labels (h, w), uint8, with their places.

    Shape:
        (h, w) of each cell -> (H, W), uint8.

    Example:
        >>> cell = np.array([[0, 3]], np.uint8)
        >>> field_labels((3, 5), [(cell, Place("f", 1, 0, 0.5))])
        array([[255,   0,   0,   3,   3],
               [255,   0,   0,   3,   3],
               [255, 255, 255, 255, 255]], dtype=uint8)
    """
    labels = np.full(shape, IGNORE_LABEL, np.uint8)
    for mask, place in cells:
        rows, v = _covered(shape[0], mask.shape[0], place.y, place.scale)
        columns, u = _covered(shape[1], mask.shape[1], place.x, place.scale)
        region, patch = labels[rows, columns], mask[np.ix_(v, u)]
        cell = (patch != BACKGROUND) & (patch != IGNORE_LABEL)
        bare = (region == IGNORE_LABEL) | ((region == BACKGROUND) & cell)
        region[bare] = patch[bare]
    return labels


def _covered(
    field: int, cell: int, start: float, scale: float
) -> tuple[slice, np.ndarray]:
    """Return the field's pixels under a cell along one axis, and the cell's there."""
    first = max(0, math.ceil(start - 0.5))
    last = min(field, math.ceil(start + cell / scale - 0.5))
    middles = np.arange(first, max(first, last)) + 0.5
    inside = np.floor((middles - start) * scale).astype(int)
    return slice(first, max(first, last)), np.clip(inside, 0, cell - 1)
