"""How well the cells of a whole field were found: matched one to one by overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class FieldMatch:
    """Which cells of a field were found.

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
) -> FieldMatch:
    """Match true cells and predicted ones, each at most once.

    The pairs are those with the largest sum of IoU; those of less than 0.5 count as a
    missed cell and a false one.

    Args:
        truth: one mask a cell.
        predicted: ids of cells from 1 on, 0 where none is.
        cells: the number of predicted cells.

    Shape:
        truth (H, W) bool each, predicted (H, W) integers.

    Example:
        >>> truth = [np.array([[1, 1, 0, 0, 0]], bool)]
        >>> match_cells(truth, np.array([[1, 1, 0, 2, 2]]), cells=2)
        FieldMatch(found=((0, 0, 1.0),), missed=(), false=(1,))
    """
    overlaps = np.zeros((len(truth), cells))
    areas = np.bincount(predicted.ravel(), minlength=cells + 1)[1:]
    for i, mask in enumerate(truth):
        shared = np.bincount(predicted[mask], minlength=cells + 1)[1:]
        overlaps[i] = shared / np.maximum(areas + mask.sum() - shared, 1)
    pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    found = tuple(
        (int(i), int(j), float(overlaps[i, j]))
        for i, j in pairs
        if overlaps[i, j] >= LEAST_OVERLAP
    )
    ours, theirs = {i for i, _, _ in found}, {j for _, j, _ in found}
    return FieldMatch(
        found=found,
        missed=tuple(i for i in range(len(truth)) if i not in ours),
        false=tuple(j for j in range(cells) if j not in theirs),
    )
