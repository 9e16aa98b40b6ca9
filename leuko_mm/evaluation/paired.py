"""Differences of two methods, on the same cells or not, with interval and p value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.evaluation.intervals import (
    Figure,
    figure_values,
    percentile_ends,
    true_classes,
)
from leuko_mm.evaluation.resampling import resample_weights
from leuko_mm.evaluation.same_cells import DifferentCellsError
from leuko_mm.evaluation.statistic import statistic

# A difference this near to the observed one, in percent points, is the same.
SAME = 1e-9


@dataclass(frozen=True)
class Difference:
    """What the first method has more than the second.

    Attributes:
        value: first minus second, in the figure's unit (percent points).
        low: lower end of its interval.
        high: upper end of its interval.
        p: two-sided p value of no difference.
    """

    value: float
    low: float
    high: float
    p: float


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[str],
    figure: Figure,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> Difference:
    """Compare two methods on the same cells.

    The interval is that of the difference over resamples of slides, then cells, the
    same for both methods. The p value is that of a permutation test: were the methods
    alike, the results of a slide could as well be the other method's. So the two are
    swapped for some slides, and p is the share of such swaps that give at least the
    difference seen. All swaps are tried where there are no more than ``resamples``,
    else that many at random. Few slides cannot give a small p: with 5 the least is
    2 / 2**5.

    Args:
        first: confusions of a method, one a cell, or what the figure's ``parts`` take.
        second: of the other, in the same order (:func:`same_cells`).
        groups: the slide of each cell.
        figure: a name or a ``Statistic``.
        resamples: how many resamples, and how many swaps at most.
        seed: of both.
        level: of the interval.
        classes: of each cell; by default read off the first method's confusions.

    Shape:
        (N, C, C), (N, C, C), N names -> numbers.

    Raises:
        DifferentCellsError: if the shapes differ, or confusions have other true
            classes.

    Example:
        >>> good = np.array([[[90, 0], [0, 10]]] * 4)
        >>> bad = np.array([[[90, 0], [5, 5]]] * 4)
        >>> found = paired_difference(good, bad, list("abcd"), "pixel_accuracy")
        >>> found.value, found.low, found.high, found.p
        (5.0, 5.0, 5.0, 0.125)
    """
    first, second, groups = np.asarray(first), np.asarray(second), np.asarray(groups)
    classes = _classes_of_both(first, second, groups, classes)
    weights = resample_weights(groups, classes, resamples=resamples, seed=seed)
    ones = np.ones((1, len(groups)))
    values, drawn = (
        figure_values(first, rows, figure) - figure_values(second, rows, figure)
        for rows in (ones, weights)
    )
    swaps = _swaps(len(np.unique(groups)), resamples, seed)
    p = _permutation_p(first, second, groups, swaps, figure)
    return Difference(float(values[0]), *percentile_ends(drawn, level), p)


def independent_difference(
    first: tuple[np.ndarray, Sequence[str]],
    second: tuple[np.ndarray, Sequence[str]],
    figure: Figure,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Compare results on different cells, such as those of two kinds of split.

    Each side is resampled by itself. The p value is that of the resamples: twice the
    smaller share of differences on one side of 0. It is rough where slides are few.

    Args:
        first: confusions and groups of a run's cells.
        second: those of the other.
        figure: a name or a ``Statistic``.
        resamples: how many.
        seed: of the resamples.
        level: of the interval.

    Example:
        >>> one = np.array([[[90, 0], [0, 10]]]), ["a"]
        >>> other = np.array([[[90, 0], [10, 0]]]), ["b"]
        >>> independent_difference(one, other, "pixel_accuracy", resamples=99).p
        0.02
    """
    values, drawn = [], []
    for side, (cells, groups) in enumerate((first, second)):
        cells = np.asarray(cells)
        weights = resample_weights(
            groups, true_classes(cells), resamples=resamples, seed=(seed, side)
        )
        values.append(figure_values(cells, np.ones((1, len(cells))), figure)[0])
        drawn.append(figure_values(cells, weights, figure))
    apart = drawn[0] - drawn[1]
    below, above = (apart <= 0).sum(), (apart >= 0).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + (~np.isnan(apart)).sum()))
    ends = percentile_ends(apart, level)
    return Difference(float(values[0] - values[1]), *ends, float(p))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p values for how many there are, after Holm.

    Of m values, the smallest is multiplied by m, the next by m - 1, and so on; none
    becomes less than one before it, nor more than 1. Rejecting what is at most 0.05
    after it is wrong anywhere in at most 5 % of families, however they depend on each
    other. A NaN stays one and does not count.

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 1979. Differs: nothing.

    Example:
        >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
        [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def _classes_of_both(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[int] | None,
) -> Sequence[int]:
    if first.shape != second.shape or len(groups) != len(first):
        raise DifferentCellsError(
            f"the two methods' cells have shape {first.shape} and {second.shape}, with "
            f"{len(groups)} groups; expected the same cells, one group each: bring "
            "them into one order with same_cells"
        )
    if classes is not None:
        return classes
    read = true_classes(first)
    if (read != true_classes(second)).any():
        raise DifferentCellsError(
            "the two methods' cells have different true classes; expected the same "
            "cells in the same order: bring them into one order with same_cells"
        )
    return read


def _swaps(slides: int, most: int, seed: int) -> np.ndarray:
    """Return which slides are swapped, (P, slides) bool; the first row swaps none."""
    if 2**slides <= most:
        numbers = np.arange(2**slides)[:, None]
        return (numbers >> np.arange(slides)) % 2 == 1
    # One stream for resamples, another for swaps.
    random = np.random.default_rng((seed, 1))
    drawn = random.integers(0, 2, size=(most, slides), dtype=np.int8) == 1
    return np.concatenate([np.zeros((1, slides), bool), drawn])


def _permutation_p(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    swaps: np.ndarray,
    figure: Figure,
) -> float:
    chosen = statistic(figure) if isinstance(figure, str) else figure
    one, two = (np.asarray(chosen.parts(side), np.float64) for side in (first, second))
    slides, slide_of = np.unique(groups, return_inverse=True)
    apart = np.zeros((len(slides), *one.shape[1:]))
    np.add.at(apart, slide_of, two - one)
    # (P, slides) @ (slides, K) -> (P, K) -> (P, ...): what the first gains by a swap.
    gained = swaps.astype(np.float64) @ apart.reshape(len(slides), -1)
    gained = gained.reshape(len(swaps), *one.shape[1:])
    values = np.abs(
        chosen.value(one.sum(axis=0) + gained) - chosen.value(two.sum(axis=0) - gained)
    )
    seen = values[0]
    if np.isnan(seen):
        return float("nan")
    return float((values[~np.isnan(values)] >= seen - SAME).mean())
