"""How large red cells are in the images that a network is trained on."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.prepared import IndexRow, read_index, read_split
from leuko_mm.inference.red_cells import RedCells, measure_red_cells

# So many images are looked at, evenly over the training part: a few seconds.
MOST_IMAGES = 30
FEWEST_CELLS = 20


def trained_red_cell(
    root: Path, split: str | None, *, cell_px: float | None
) -> float | None:
    """Return the diameter of a red cell when the network sees it in training.

    Args:
        root: the prepared dataset.
        split: whose training part is measured; None takes every cell.
        cell_px: the side that an image of a cell is resized to; None leaves it.

    Returns:
        Pixels; None where fewer than 20 red cells are seen in all images together.

    Raises:
        DatasetError: if the dataset is missing or broken.
    """
    rows = [row for row in read_index(root) if row.kind == "cell"]
    if split:
        parts = read_split(root, split)
        rows = [row for row in rows if parts.get(row.stem) == "train"]
    diameters, counts = [], []
    for row in _spread(rows):
        measured = _measured(root / row.image, row.sha256)
        if measured:
            to_network = cell_px / row.width if cell_px else 1.0
            diameters.append(measured.diameter * to_network)
            counts.append(measured.count)
    if sum(counts) < FEWEST_CELLS:
        return None
    return round(float(np.median(np.repeat(diameters, counts))), 2)


@lru_cache(maxsize=1024)
def _measured(image: Path, sha256: str) -> RedCells | None:
    # A comparison trains many networks on the same images, by one process.
    return measure_red_cells(read_image(image))


def _spread(rows: list[IndexRow]) -> list[IndexRow]:
    if len(rows) <= MOST_IMAGES:
        return rows
    places = np.linspace(0, len(rows) - 1, MOST_IMAGES)
    return [rows[round(place)] for place in places]
