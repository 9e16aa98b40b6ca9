"""Intervals of figures by bootstrap over slides, then over cells of slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.evaluation.cell_scores import majority_classes
from leuko_mm.evaluation.resampling import resample_weights
from leuko_mm.evaluation.statistic import Statistic, statistic

Figure = str | Statistic


@dataclass(frozen=True)
class Interval:
    """A figure with the interval that it lies in; NaN where there is none.

    Attributes:
        value: of all cells, in the figure's unit (percent).
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_interval(
    cells: np.ndarray,
    groups: Sequence[str],
    figure: Figure,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> Interval:
    """Return a figure of test cells with its interval, see :func:`bootstrap_intervals`.

    Example:
        >>> cells = np.array([[[90, 10], [5, 15]], [[80, 5], [2, 30]]])
        >>> found = bootstrap_interval(cells, ["a", "b"], "pixel_accuracy")
        >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
        (90.72, 87.5, 94.02)
    """
    options = {"resamples": resamples, "seed": seed, "level": level}
    found = bootstrap_intervals(cells, groups, {"": figure}, classes=classes, **options)
    return found[""]


def bootstrap_intervals(
    cells: np.ndarray,
    groups: Sequence[str],
    figures: Sequence[str] | Mapping[str, Figure],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> dict[str, Interval]:
    """Return several figures with their intervals, from the same resamples.

    The ends are percentiles of the figure over resamples of slides and of cells
    within slides (:func:`leuko_mm.evaluation.resampling.resample_weights`). They tell
    how far the figure would move with other slides of the same kind and other cells
    on them. They do not tell of another training: seeds are not resampled.

    A class that a resample lost is left out of the resample's means, even where some
    pixel is taken for it; a resample in which the figure itself is undefined is left
    out of the percentiles. Where no resample differs, as where every cell is found,
    both ends are the value, which is no interval.

    Args:
        cells: pixel counts of every cell, or what the figures' ``parts`` take.
        groups: the slide of each cell.
        figures: names (:func:`leuko_mm.evaluation.statistic.statistic`), or a name of
            your own to one of them or to a ``Statistic``.
        resamples: how many.
        seed: of the resamples.
        level: share of the truth that the interval is to cover.
        classes: of each cell; by default read off the cells' confusions.

    Shape:
        (N, C, C), N names -> one interval a figure.

    Raises:
        ValueError: if a figure is unknown, a number is out of range, the lengths
            differ, or classes are needed and missing.
    """
    _check(resamples, level)
    cells = np.asarray(cells)
    weights = resample_weights(
        _fitting(groups, cells),
        true_classes(cells) if classes is None else classes,
        resamples=resamples,
        seed=seed,
    )
    ones = np.ones((1, len(cells)))
    found = {}
    for name, figure in named_figures(figures).items():
        whole = figure_values(cells, ones, figure)[0]
        values = figure_values(cells, weights, figure)
        found[name] = Interval(float(whole), *percentile_ends(values, level))
    return found


def figure_values(cells: np.ndarray, weights: np.ndarray, figure: Figure) -> np.ndarray:
    """Return a figure in every resample.

    Shape:
        (N, ...), (R, N) -> (R,) float64.
    """
    chosen = statistic(figure) if isinstance(figure, str) else figure
    parts = np.asarray(chosen.parts(cells), np.float64)
    # (R, N) @ (N, K) -> (R, K) -> (R, ...)
    sums = (weights @ parts.reshape(len(parts), -1)).reshape(-1, *parts.shape[1:])
    if chosen.resampled is None:
        return chosen.value(sums)
    return chosen.resampled(sums, parts.sum(axis=0))


def percentile_ends(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ends of the middle ``level`` of values; NaN where all are undefined.

    Example:
        >>> percentile_ends(np.arange(101.0), 0.5)
        (25.0, 75.0)
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def true_classes(cells: np.ndarray) -> np.ndarray:
    """Return the true class of every cell, read off its confusion.

    Raises:
        ValueError: if these are no confusions.
    """
    if cells.ndim != 3 or cells.shape[1] != cells.shape[2]:
        raise ValueError(
            f"the cells have shape {cells.shape}, which no class can be read off; "
            "pass classes=, one id a cell"
        )
    return majority_classes(cells)[0]


def named_figures(
    figures: Sequence[str] | Mapping[str, Figure],
) -> Mapping[str, Figure]:
    """Return figures by name, given as names alone or as a mapping."""
    if isinstance(figures, Mapping):
        return figures
    return {name: name for name in figures}


def _fitting(groups: Sequence[str], cells: np.ndarray) -> Sequence[str]:
    if len(groups) != len(cells):
        raise ValueError(
            f"{len(cells)} cells and {len(groups)} groups; expected one group a cell"
        )
    return groups


def _check(resamples: int, level: float) -> None:
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"resamples is {resamples} and level {level}; expected one resample or "
            "more and a level between 0 and 1, such as 0.95"
        )
