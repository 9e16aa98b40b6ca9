"""Metrics of a set of cells and of single cells, from their confusion matrices.

A confusion is (N, C, C) pixel counts of N cells, rows truth, columns prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leuko_mm.classes import BACKGROUND, BINARY_NAMES, CLASS_NAMES
from leuko_mm.evaluation.confusion import CLASS_KEYS, MEAN_OF, class_scores, mean_scores

MEANS = (*MEAN_OF, *(f"{name}_fg" for name in MEAN_OF), "pixel_accuracy")
CELL_METRICS = ("found", "right_class", "mean_dice")
# A cell is found from this intersection over union on.
FOUND_FROM = 0.5


def cell_dice(confusion: np.ndarray) -> np.ndarray:
    """Return every cell's Dice over its correct pixels, in percent.

    A pixel of the wrong class counts as missed and as a false alarm, so that a cell
    found whole but named wrong scores 0.

    Shape:
        (N, C, C) -> (N,) float64; NaN where neither side has a cell.
    """
    counts = _stacked(confusion)
    hit = np.diagonal(counts, axis1=1, axis2=2)
    either = counts.sum(axis=2) + counts.sum(axis=1)
    correct = 2.0 * np.delete(hit, BACKGROUND, axis=1).sum(axis=1)
    whole = np.delete(either, BACKGROUND, axis=1).sum(axis=1)
    undefined = np.full(len(counts), np.nan)
    return 100.0 * np.divide(correct, whole, out=undefined, where=whole > 0)


def majority_classes(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every cell's true class and the class that most of its pixels got.

    Only pixels of the cell itself that were given a cell class count. Among equals the
    lower id counts.

    Shape:
        (N, C, C) -> (N,) and (N,) class ids; 0 where no such pixel is.
    """
    counts = _stacked(confusion)
    of_cells = counts[:, BACKGROUND + 1 :]
    return _largest(counts.sum(axis=2)), _largest(of_cells.sum(axis=1))


def with_classes_right(confusion: np.ndarray) -> np.ndarray:
    """Return the confusions that remain if every leukocyte pixel had its class.

    Only the outlines stay wrong: pixels of a cell predicted as background, and
    background predicted as cell, which then counts as of the cell's true class.

    Shape:
        (N, C, C) -> (N, C, C).
    """
    counts = _stacked(confusion)
    cells = np.arange(len(counts))
    kept = np.zeros_like(counts)
    kept[:, :, BACKGROUND] = counts[:, :, BACKGROUND]
    found = counts[:, :, BACKGROUND + 1 :].sum(axis=2)
    classes = np.arange(counts.shape[1])
    kept[:, classes, classes] += np.where(classes == BACKGROUND, 0, found)
    truth, _ = majority_classes(counts)
    kept[cells, BACKGROUND, truth] += found[:, BACKGROUND]
    return kept


def _stacked(confusion: np.ndarray) -> np.ndarray:
    counts = np.asarray(confusion)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2]:
        raise ValueError(
            f"the confusion has shape {counts.shape}; expected (N, C, C), one matrix "
            "a cell; add an axis for a single one"
        )
    return counts


def _largest(pixels: np.ndarray) -> np.ndarray:
    # (N, C) -> (N,); a background of 0 loses against any cell pixel, wins alone.
    pixels = pixels.copy()
    pixels[:, BACKGROUND] = 0
    return np.where(pixels.any(axis=1), pixels.argmax(axis=1), BACKGROUND)


@dataclass(frozen=True)
class Statistic:
    """A metric of a set of cells that only needs sums over them.

    Sums make resampling cheap: thousands of resamples are one product of matrices.

    Attributes:
        parts: (N, C, C) confusions of cells -> (N, ...) what is summed over cells.
        value: (..., *sum) -> (...) the metric in percent, NaN where it is undefined.
        resampled: (..., *sum), (*sum) -> (...) the metric of resamples, where it must
            know the sum over all cells to see what they lost; None for ``value``.
    """

    parts: Callable[[np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    resampled: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def statistic(name: str) -> Statistic:
    """Return a metric by its name.

    Of the pooled pixels: ``mIoU``, ``mF1``, ``mPrecision``, ``mRecall`` and
    ``ovr_accuracy``, each with ``_fg`` appended without background;
    ``pixel_accuracy``; and ``iou.monocyte`` and the like, a score of one class. Of
    the cells: ``found``, ``right_class`` and ``mean_dice``, see :func:`cell_figures`.

    Raises:
        ValueError: if there is no such metric or class.

    Examples:
        >>> metric = statistic("iou.leukocyte")
        >>> cells = np.array([[[20, 5], [0, 25]], [[30, 5], [5, 10]]])
        >>> float(metric.value(metric.parts(cells).sum(axis=0)))
        70.0
    """
    if name in MEANS:
        return of_classes(
            np.asarray, lambda sums, counted: mean_scores(sums, counted)[name], _true
        )
    if name in CELL_METRICS:
        return Statistic(lambda cells: _counted(cell_figures(cells)[name]), _share)
    key, _, label = name.partition(".")
    known = dict.fromkeys((*CLASS_NAMES, *BINARY_NAMES))
    if key not in CLASS_KEYS or label not in known:
        raise ValueError(
            f"no metric {name!r}; expected {', '.join((*MEANS, *CELL_METRICS))}, or "
            f"{', '.join(CLASS_KEYS)} with a dot and one of {', '.join(known)}"
        )
    return of_classes(
        np.asarray,
        lambda sums, counted: _of_class(sums, counted, key, label),
        _true,
    )


def of_classes(
    parts: Callable[[np.ndarray], np.ndarray],
    value: Callable[[np.ndarray, np.ndarray | bool], np.ndarray],
    true: Callable[[np.ndarray], np.ndarray],
) -> Statistic:
    """Return a metric of classes that leaves out those that a resample lost.

    A lost class of which some pixel is predicted would score 0, though no cell of it
    could be found. A class without any cell counts in every resample.

    ``value`` also takes which classes (..., C) count; ``true`` returns the classes that
    any cell is of.
    """
    return Statistic(
        parts,
        lambda sums: value(sums, True),
        lambda sums, whole: value(sums, true(sums) | ~true(whole)),
    )


def cell_figures(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return what became of every cell, in percent.

    ``found``: 100 where cell pixels of any class share at least half of their union
    with the true ones, else 0. ``right_class``: 100 where most of the cell's pixels
    that were given a class were given its own, else 0. ``mean_dice``: the Dice of
    :func:`cell_dice`.

    Shape:
        (N, C, C) -> names to (N,) float64; NaN where the truth shows no cell.
    """
    counts = np.asarray(confusion)
    truth, majority = majority_classes(counts)
    there = truth != BACKGROUND
    either = counts.sum(axis=(1, 2)) - counts[:, BACKGROUND, BACKGROUND]
    shared = np.delete(np.delete(counts, BACKGROUND, 1), BACKGROUND, 2).sum(axis=(1, 2))
    return {
        "found": np.where(there, 100.0 * (shared >= FOUND_FROM * either), np.nan),
        "right_class": np.where(there, 100.0 * (truth == majority), np.nan),
        "mean_dice": np.where(there, cell_dice(counts), np.nan),
    }


def _true(sums: np.ndarray) -> np.ndarray:
    return sums.sum(axis=-1) > 0


def _counted(values: np.ndarray) -> np.ndarray:
    # (N,) -> (N, 2): the value where there is one, and whether there is one.
    defined = ~np.isnan(values)
    return np.stack([np.where(defined, values, 0.0), defined], axis=1)


def _share(sums: np.ndarray) -> np.ndarray:
    total, count = sums[..., 0], sums[..., 1]
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _of_class(
    sums: np.ndarray, counted: np.ndarray | bool, key: str, label: str
) -> np.ndarray:
    count = np.shape(sums)[-1]
    names = BINARY_NAMES if count == len(BINARY_NAMES) else CLASS_NAMES
    if label not in names or len(names) != count:
        raise ValueError(
            f"no class {label!r} among {count} classes; expected one of "
            f"{', '.join(names)}"
        )
    scored = np.where(counted, class_scores(sums)[key], np.nan)
    return scored[..., names.index(label)]
