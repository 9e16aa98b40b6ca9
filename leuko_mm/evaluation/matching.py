"""Which of the true cells of an image were found, and which predicted ones are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class CellMatch:
    """Which cells of an image were found.

    Attributes:
        found: pairs of positions, (true cell, predicted cell, their IoU).
        missed: positions of the true cells that were not.
        false: positions of the predicted cells that are none.
    """

    found: tuple[tuple[int, int, float], ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]


def match_cells(
    truth: Sequence[np.ndarray], predicted: np.ndarray, *, cells: int
) -> CellMatch:
    """Match true cells and predicted ones, each at most once.

    The pairs of largest IoU come first; what is left with less than 0.5 counts as a
    missed cell and a false one. Cells of one image do not overlap, so that hardly any
    has two partners to choose from.

    Args:
        truth: one mask a cell.
        predicted: ids of cells from 1 on, 0 where none is.
        cells: the number of predicted cells.

    Shape:
        truth (H, W) bool each, predicted (H, W) integers.

    """
    overlaps = np.zeros((len(truth), cells))
    areas = np.bincount(predicted.ravel(), minlength=cells + 1)[1:]
    for i, mask in enumerate(truth):
        shared = np.bincount(predicted[mask], minlength=cells + 1)[1:]
        overlaps[i] = shared / np.maximum(areas + mask.sum() - shared, 1)
    found: list[tuple[int, int, float]] = []
    while overlaps.size and overlaps.max() >= LEAST_OVERLAP:
        i, j = (int(at) for at in np.unravel_index(overlaps.argmax(), overlaps.shape))
        found.append((i, j, float(overlaps[i, j])))
        overlaps[i], overlaps[:, j] = 0, 0
    found.sort()
    ours, theirs = {i for i, _, _ in found}, {j for _, j, _ in found}
    return CellMatch(
        found=tuple(found),
        missed=tuple(i for i in range(len(truth)) if i not in ours),
        false=tuple(j for j in range(cells) if j not in theirs),
    )
