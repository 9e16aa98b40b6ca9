"""Bootstrap intervals, paired tests and the spread between trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.evaluation.cell_scores import Statistic, majority_classes, statistic

Metric = str | Statistic
# Differences of percent points nearer than this are the same.
SAME = 1e-9


class DifferentCellsError(ValueError):
    """Two runs were to be compared cell by cell and did not test the same cells."""


@dataclass(frozen=True)
class Interval:
    """A metric with its interval, in percent; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """What the first method has more than the second.

    Attributes:
        value: first minus second, in percent points.
        low: lower end of its interval.
        high: upper end of its interval.
        p: two-sided p value of no difference.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SeedDeviation:
    """The standard deviation of one training, seen in trainings that differ in seed.

    Attributes:
        value: in the unit of the metrics; NaN where nothing was trained twice.
        freedom: degrees of freedom: trainings, less one a test. The relative standard
            error of ``value`` is about ``1 / sqrt(2 * freedom)``.
    """

    value: float
    freedom: int


def resample_weights(
    groups: Sequence[str],
    classes: Sequence[int] | None = None,
    *,
    resamples: int = 2000,
    seed: int | Sequence[int] = 0,
    within: bool = True,
) -> np.ndarray:
    """Return the weight of every cell in every resample of a hierarchical bootstrap.

    Slides are drawn with replacement, as many as there are; then from every drawn
    slide as many of its cells as it has, with replacement. A slide drawn twice has
    its cells drawn twice.

    Where every slide holds cells of one class only, as in BCISC, slides are drawn class
    by class, since how many slides of each class there are is no chance: no resample
    loses a class. Where a slide holds several classes, all slides are drawn together,
    and a class can be missing from a resample; a metric leaves it out of its mean.

    ``tools/paper/interval_coverage.py`` measures how often 95 % intervals from these
    weights cover the truth of simulated slides: in 95 to 100 % at ten slides a class,
    in 86 to 95 % at two; without the second stage in 91 to 95 % and in 61 to 75 %.

    Args:
        groups: the slide of each cell.
        classes: the class of each cell; None draws all slides together.
        resamples: R.
        seed: of the draws.
        within: False keeps all cells of a drawn slide as they are.

    Shape:
        N names, N ids -> (R, N) float64.

    Raises:
        ValueError: if there is no cell, or the lengths differ.
    """
    groups = np.asarray(groups)
    if len(groups) == 0 or (classes is not None and len(classes) != len(groups)):
        count = "no" if classes is None else len(classes)
        raise ValueError(
            f"{len(groups)} cells with groups and {count} classes; expected one cell "
            "or more, and one of each a cell"
        )
    _, slide_of = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    drawn = np.zeros((resamples, slide_of.max() + 1), np.int64)
    for slides in _strata(slide_of, classes):
        even = np.full(len(slides), 1 / len(slides))
        drawn[:, slides] = random.multinomial(len(slides), even, size=resamples)
    if not within:
        return drawn[:, slide_of].astype(np.float64)
    return _cells_of_slides(drawn, slide_of, random)


def _strata(slide_of: np.ndarray, classes: Sequence[int] | None) -> list[np.ndarray]:
    """Return the slides of each class, or all in one where slides mix classes."""
    slides = np.arange(slide_of.max() + 1)
    if classes is None:
        return [slides]
    pairs = np.unique(np.stack([slide_of, np.asarray(classes)]), axis=1)
    if pairs.shape[1] != len(slides):
        return [slides]
    return [slides[pairs[1] == label] for label in np.unique(pairs[1])]


def _cells_of_slides(
    drawn: np.ndarray, slide_of: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    weights = np.empty((len(drawn), len(slide_of)))
    for slide in range(drawn.shape[1]):
        cells = np.flatnonzero(slide_of == slide)
        # k draws of m cells each are one draw of k * m.
        count, even = drawn[:, slide] * len(cells), np.full(len(cells), 1 / len(cells))
        weights[:, cells] = (
            random.multinomial(count, even) if len(cells) > 1 else count[:, None]
        )
    return weights


def bootstrap_interval(
    cells: np.ndarray,
    groups: Sequence[str],
    metric: Metric,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> Interval:
    """Return one metric with its interval, see :func:`bootstrap_intervals`."""
    options = {"resamples": resamples, "seed": seed, "level": level}
    found = bootstrap_intervals(cells, groups, {"": metric}, classes=classes, **options)
    return found[""]


def bootstrap_intervals(
    cells: np.ndarray,
    groups: Sequence[str],
    metrics: Sequence[str] | Mapping[str, Metric],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> dict[str, Interval]:
    """Return several metrics with their intervals, from the same resamples.

    The ends are percentiles of the metric over resamples of slides and of cells within
    slides (:func:`resample_weights`): how far it would move with other slides of the
    same kind. Seeds are not resampled, so they do not tell of another training.

    A class that a resample lost is left out of its means, even where some pixel is
    predicted as it; a resample in which the metric is undefined is left out of the
    percentiles. Where no resample differs, both ends are the value.

    Args:
        cells: pixel counts of every cell, or what the metrics' ``parts`` take.
        groups: the slide of each cell.
        metrics: names of :func:`leuko_mm.evaluation.cell_scores.statistic`, or a name
            of your own to one of them or to a ``Statistic``.
        resamples: how many.
        seed: of the resamples.
        level: share of the truth that the interval is to cover.
        classes: of each cell; by default read off the cells' confusions.

    Shape:
        (N, C, C), N names -> one interval a metric.

    Raises:
        ValueError: if a metric is unknown, a number is out of range, the lengths
            differ, or classes are needed and missing.
    """
    cells = np.asarray(cells)
    if len(groups) != len(cells):
        raise ValueError(
            f"{len(cells)} cells and {len(groups)} groups; expected one group a cell"
        )
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(
            f"resamples is {resamples} and level {level}; expected one resample or "
            "more and a level between 0 and 1, such as 0.95"
        )
    if not isinstance(metrics, Mapping):
        metrics = {name: name for name in metrics}
    classes = true_classes(cells) if classes is None else classes
    weights = resample_weights(groups, classes, resamples=resamples, seed=seed)
    ones = np.ones((1, len(cells)))
    found = {}
    for name, metric in metrics.items():
        whole = metric_values(cells, ones, metric)[0]
        values = metric_values(cells, weights, metric)
        # A sum in another order is no other value.
        values[np.abs(values - whole) <= SAME] = whole
        found[name] = Interval(float(whole), *percentile_ends(values, level))
    return found


def metric_values(cells: np.ndarray, weights: np.ndarray, metric: Metric) -> np.ndarray:
    """Return a metric in every resample.

    Shape:
        (N, ...), (R, N) -> (R,) float64.
    """
    chosen = _statistic(metric)
    parts = np.asarray(chosen.parts(cells), np.float64)
    # (R, N) @ (N, K) -> (R, K) -> (R, ...)
    sums = (weights @ parts.reshape(len(parts), -1)).reshape(-1, *parts.shape[1:])
    if chosen.resampled is None:
        return chosen.value(sums)
    return chosen.resampled(sums, parts.sum(axis=0))


def _statistic(metric: Metric) -> Statistic:
    return statistic(metric) if isinstance(metric, str) else metric


def percentile_ends(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the ends of the middle ``level`` of values; NaN where none is defined."""
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


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[str],
    metric: Metric,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    classes: Sequence[int] | None = None,
) -> Difference:
    """Compare two methods on the same cells.

    The interval is that of the difference over the same resamples for both. The p value
    is that of a permutation test: the two methods' results are swapped for some slides,
    and p is the share of such swaps with at least the difference seen. All swaps are
    tried where there are no more than ``resamples``, else that many at random. Few
    slides cannot give a small p: with 5 the least is 2 / 32.

    Args:
        first: confusions of a method, one a cell, or what the metric's ``parts`` take.
        second: of the other, in the same order (:func:`same_cells`).
        groups: the slide of each cell.
        metric: a name or a ``Statistic``.
        resamples: how many resamples, and how many swaps at most.
        seed: of both.
        level: of the interval.
        classes: of each cell; by default read off the first method's confusions.

    Shape:
        (N, C, C), (N, C, C), N names -> numbers.

    Raises:
        DifferentCellsError: if the shapes differ, or confusions have other true
            classes.
    """
    first, second, groups = np.asarray(first), np.asarray(second), np.asarray(groups)
    classes = _classes_of_both(first, second, groups, classes)
    weights = resample_weights(groups, classes, resamples=resamples, seed=seed)
    ones = np.ones((1, len(groups)))
    values, drawn = (
        metric_values(first, rows, metric) - metric_values(second, rows, metric)
        for rows in (ones, weights)
    )
    swaps = _swaps(len(np.unique(groups)), resamples, seed)
    p = _permutation_p(first, second, groups, swaps, metric)
    return Difference(float(values[0]), *percentile_ends(drawn, level), p)


def independent_difference(
    first: tuple[np.ndarray, Sequence[str]],
    second: tuple[np.ndarray, Sequence[str]],
    metric: Metric,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Compare results on different cells, such as those of two kinds of split.

    Each side is resampled by itself. The p value is twice the smaller share of
    resampled differences on one side of 0, NaN where the metric is undefined. It is
    rough where slides are few.

    Args:
        first: confusions and groups of a run's cells.
        second: those of the other.
        metric: a name or a ``Statistic``.
        resamples: how many; the other options are those of :func:`paired_difference`.
    """
    values, drawn = [], []
    for side, (cells, groups) in enumerate((first, second)):
        cells = np.asarray(cells)
        weights = resample_weights(
            groups, true_classes(cells), resamples=resamples, seed=(seed, side)
        )
        values.append(metric_values(cells, np.ones((1, len(cells))), metric)[0])
        drawn.append(metric_values(cells, weights, metric))
    apart = drawn[0] - drawn[1]
    below, above = (apart <= 0).sum(), (apart >= 0).sum()
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + (~np.isnan(apart)).sum()))
    ends, value = percentile_ends(apart, level), float(values[0] - values[1])
    return Difference(value, *ends, math.nan if math.isnan(value) else float(p))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Correct p values for how many there are, after Holm.

    Of m values, the smallest is multiplied by m, the next by m - 1, and so on; none
    becomes less than one before it, nor more than 1. A NaN stays and does not count.

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 1979. Differs: nothing.
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
    metric: Metric,
) -> float:
    chosen = _statistic(metric)
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


def seed_deviation(metrics: Iterable[Sequence[float]]) -> SeedDeviation:
    """Return the deviation within tests, such as folds, pooled over them.

    Args:
        metrics: of every test, the metrics of its trainings.
    """
    squares, freedom = 0.0, 0
    for of_test in metrics:
        mean = math.fsum(of_test) / max(1, len(of_test))
        squares += math.fsum((metric - mean) ** 2 for metric in of_test)
        freedom += max(0, len(of_test) - 1)
    return SeedDeviation(math.sqrt(squares / freedom) if freedom else math.nan, freedom)
