"""Scores of single cells: how well each is drawn, and what it is taken for."""

from __future__ import annotations

import numpy as np

from leuko_mm.classes import BACKGROUND


def cell_dice(confusion: np.ndarray) -> np.ndarray:
    """Return every cell's Dice over its correct pixels, in percent.

    Twice the cell pixels that got their true class, over the true cell pixels plus
    the predicted ones. A pixel of the wrong class counts as missed and as false
    alarm, so a cell found whole but named wrong scores 0.

    Args:
        confusion: pixel counts, rows truth, columns prediction.

    Shape:
        (N, C, C) -> (N,) float64; NaN where neither side has a cell.

    Example:
        >>> one = np.array([[50, 10, 0], [5, 30, 5], [0, 0, 0]])
        >>> cell_dice(one[None]).tolist()
        [70.58823529411765]
    """
    counts = _stacked(confusion)
    hit = np.diagonal(counts, axis1=1, axis2=2)
    either = counts.sum(axis=2) + counts.sum(axis=1)
    correct = 2.0 * _without_background(hit).sum(axis=1)
    whole = _without_background(either).sum(axis=1)
    undefined = np.full(len(counts), np.nan)
    return 100.0 * np.divide(correct, whole, out=undefined, where=whole > 0)


def majority_classes(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every cell's true class and the class that most of its pixels got.

    Only the pixels of the cell itself count, and of those only the ones that were
    given a cell class: a false alarm beside the cell does not name it. Among equals
    the lower id counts.

    Args:
        confusion: pixel counts, rows truth, columns prediction.

    Shape:
        (N, C, C) -> (N,) and (N,) class ids; 0 where no such pixel is.

    Example:
        >>> one = np.array([[50, 90, 0], [5, 10, 30], [0, 0, 0]])
        >>> [side.tolist() for side in majority_classes(one[None])]
        [[1], [2]]
    """
    counts = _stacked(confusion)
    of_cells = counts[:, BACKGROUND + 1 :]
    return _largest(counts.sum(axis=2)), _largest(of_cells.sum(axis=1))


def with_classes_right(confusion: np.ndarray) -> np.ndarray:
    """Return the confusions that remain if every leukocyte pixel had its class.

    What is left are the outlines: pixels of a cell taken for background, and background
    taken for a part of the cell, which then counts as one of the cell's true class.

    Args:
        confusion: pixel counts, rows truth, columns prediction.

    Shape:
        (N, C, C) -> (N, C, C).

    Example:
        >>> one = np.array([[50, 0, 4], [5, 10, 30], [0, 0, 0]])
        >>> with_classes_right(one[None])[0].tolist()
        [[50, 4, 0], [5, 40, 0], [0, 0, 0]]
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


def _without_background(values: np.ndarray) -> np.ndarray:
    return np.delete(values, BACKGROUND, axis=1)


def _largest(pixels: np.ndarray) -> np.ndarray:
    # (N, C) -> (N,); a background of 0 loses against any cell pixel, wins alone.
    pixels = pixels.copy()
    pixels[:, BACKGROUND] = 0
    return np.where(pixels.any(axis=1), pixels.argmax(axis=1), BACKGROUND)
