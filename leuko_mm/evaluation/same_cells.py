"""Two runs' cells in one order, so that they can be compared one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.evaluation.intervals import true_classes


class DifferentCellsError(ValueError):
    """Two runs were to be compared cell by cell and did not test the same cells."""


def same_cells(
    first: tuple[Sequence[str], Sequence[str], np.ndarray],
    second: tuple[Sequence[str], Sequence[str], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring the cells of two runs into one order.

    Args:
        first: stems, groups and confusions of a run's cells.
        second: those of the other.

    Shape:
        (N, C, C) of each run -> (N, C, C), (N, C, C) and (N,) groups, by stem.

    Raises:
        DifferentCellsError: if stems, groups, classes or true classes differ.
    """
    (stems, groups, one), (others, other_groups, two) = map(_by_stem, (first, second))
    if stems.tolist() != others.tolist():
        alone = sorted(set(stems.tolist()) ^ set(others.tolist()))
        named = f", such as {', '.join(alone[:3])}" if alone else ""
        raise DifferentCellsError(
            f"{len(stems)} and {len(others)} tested cells, {len(alone)} of them in one "
            f"run only{named}; expected the same cells: compare runs of one split, or "
            "join the same folds of both"
        )
    if one.shape != two.shape:
        raise DifferentCellsError(
            f"the confusions have shape {one.shape} and {two.shape}; expected the "
            "same number of classes: compare runs of one protocol"
        )
    odd = (groups != other_groups) | (true_classes(one) != true_classes(two))
    if odd.any():
        raise DifferentCellsError(
            f"{odd.sum()} cells have another group or true class in the two runs, such "
            f"as {stems[odd][0]}; expected one dataset: prepare it again and test both"
        )
    return one, two, groups


def _by_stem(
    cells: tuple[Sequence[str], Sequence[str], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stems, groups, confusion = map(np.asarray, cells)
    # Stable, so that the n-th of a stem in one run meets the n-th in the other.
    order = np.argsort(stems, kind="stable")
    return stems[order], groups[order], confusion[order]
