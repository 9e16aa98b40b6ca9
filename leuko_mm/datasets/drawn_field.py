"""A whole field of drawn cells, where no real one may be shown."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.prepared import read_index

# Crops show their field at half its size, as those of BCISC do.
ENLARGED = 2


def drawn_field(root: Path, width: int = 2048, height: int = 1536) -> np.ndarray:
    """Return a field made of squares of the synthetic smears, beside each other.

    All of them are of one slide. As many cells are on an area at every size.

    Args:
        root: the prepared synthetic smears.
        width: in pixels.
        height: in pixels.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        DatasetError: if they are not prepared.
    """
    crops = [row for row in read_index(root) if row.kind == "cell"]
    crops = [row for row in crops if row.group == crops[0].group]
    squares = [
        cv2.resize(read_image(Path(root) / row.image), None, fx=ENLARGED, fy=ENLARGED)
        for row in crops
    ]
    side = len(squares[0])
    field = np.empty((height, width, 3), np.uint8)
    places = ((y, x) for y in range(0, height, side) for x in range(0, width, side))
    for i, (y, x) in enumerate(places):
        part = field[y : y + side, x : x + side]
        part[:] = squares[i % len(squares)][: len(part), : part.shape[1]]
    return field
