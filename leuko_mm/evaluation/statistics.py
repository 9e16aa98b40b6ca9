"""Bootstrap intervals, paired tests and the spread between trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.evaluation.cell_scores import Statistic, majority_classes, statistic


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

    Where every slide holds cells of one class only, as in BCISC, how many slides of
    each class there are was decided by who made the dataset, not by chance. So slides
    are then drawn class by class: no resample loses a class, and the spread tells of
    slides and cells alone. Where a slide holds several classes, all slides are drawn
    together, and a class can be missing from a resample: what is done then is up to
    the figure (NaN, left out of means).

    On simulated slides (``tools/paper/interval_coverage.py``), 95 % intervals from
    these weights cover the truth in 95 to 99 % at ten slides a class, up to a third too
    wide since cells vary between slides and again within, and in 86 to 95 % at two;
    without the second stage in 91 to 95 % and in 61 to 75 %.

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

    Example:
        >>> weights = resample_weights(["a", "a", "b"], [1, 1, 2], resamples=4)
        >>> weights[:, 2].tolist(), weights.sum(axis=1).tolist()
        ([1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0])
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
            random.multinomial(count, even) if len(cells) > 1 else (count[:, None])
        )
    return weights


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
    within slides (:func:`leuko_mm.evaluation.statistics.resample_weights`). They tell
    how far the figure would move with other slides of the same kind and other cells
    on them. They do not tell of another training: seeds are not resampled.

    A class that a resample lost is left out of the resample's means, even where some
    pixel is taken for it; a resample in which the figure itself is undefined is left
    out of the percentiles. Where no resample differs, as where every cell is found,
    both ends are the value, which is no interval.

    Args:
        cells: pixel counts of every cell, or what the figures' ``parts`` take.
        groups: the slide of each cell.
        figures: names (:func:`leuko_mm.evaluation.cell_scores.statistic`), or a name of
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


@dataclass(frozen=True)
class SeedDeviation:
    """The standard deviation of one training, seen in trainings that differ in seed.

    Attributes:
        value: in the unit of the figures; NaN where nothing was trained twice.
        freedom: degrees of freedom: trainings, less one a test. With few of them the
            value is rough: its own relative standard error is about
            ``1 / sqrt(2 * freedom)`` for figures that are spread normally.
    """

    value: float
    freedom: int


def seed_deviation(figures: Iterable[Sequence[float]]) -> SeedDeviation:
    """Return the deviation within tests, pooled over them.

    How much tests differ from each other, as folds do, has no part in it.

    Args:
        figures: of every test, such as a fold, the figures of its trainings.

    Example:
        >>> seed_deviation([[80.0, 82.0], [90.0, 90.0], [70.0]])
        SeedDeviation(value=1.0, freedom=2)
    """
    squares, freedom = 0.0, 0
    for of_test in figures:
        mean = math.fsum(of_test) / max(1, len(of_test))
        squares += math.fsum((figure - mean) ** 2 for figure in of_test)
        freedom += max(0, len(of_test) - 1)
    return SeedDeviation(math.sqrt(squares / freedom) if freedom else math.nan, freedom)
