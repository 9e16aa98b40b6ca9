"""Calibration: how far a network's confidence is from its accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL

BINS = 15


def confidence_bins(
    confidence: np.ndarray, right: np.ndarray, *, bins: int = BINS
) -> np.ndarray:
    """Count answers by their confidence; the counts of many images can be added.

    Args:
        confidence: of each answer, 0 to 1.
        right: whether each answer is right.
        bins: of equal width.

    Shape:
        (...), (...) -> (bins, 3) float64: how many, the sum of their confidence, how
        many are right.

    Raises:
        ValueError: if the shapes differ or a confidence is outside 0 to 1.
    """
    confidence, right = np.ravel(confidence), np.ravel(right)
    if confidence.shape != right.shape:
        raise ValueError(
            f"{confidence.size} confidences and {right.size} answers; expected one each"
        )
    if confidence.size and not 0 <= confidence.min() <= confidence.max() <= 1.0001:
        raise ValueError(
            f"confidences from {confidence.min()} to {confidence.max()}; expected "
            "probabilities, such as a softmax"
        )
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    columns = (None, confidence, right.astype(np.float64))
    counts = [np.bincount(place, weights=w, minlength=bins) for w in columns]
    return np.stack(counts, axis=1).astype(np.float64)


def calibration_error(counts: np.ndarray) -> float:
    """Return the expected calibration error in percent, NaN without any answer.

    The mean, over all answers, of how far the confidence of a bin is from the share of
    right answers in it.

    Reference:
        Guo et al., On calibration of modern neural networks, ICML 2017. Differs:
        nothing.
    """
    counts = np.asarray(counts, np.float64)
    total = counts[:, 0].sum()
    if not total:
        return float("nan")
    return float(100 * np.abs(counts[:, 1] - counts[:, 2]).sum() / total)


def pixel_bins(
    probabilities: np.ndarray, truth: np.ndarray, *, ignore_index: int = IGNORE_LABEL
) -> np.ndarray:
    """Count the labelled pixels of an image by the confidence of their class.

    Shape:
        (C, H, W), (H, W) -> (bins, 3).
    """
    counted = truth != ignore_index
    right = probabilities.argmax(axis=0) == truth
    confidence = probabilities.max(axis=0)
    return confidence_bins(confidence[counted], right[counted])


def cell_class(
    probabilities: np.ndarray, truth: np.ndarray, *, ignore_index: int = IGNORE_LABEL
) -> tuple[float, bool] | None:
    """Return how sure a network is of a cell's class, and whether it is right.

    The probabilities of the cell classes are averaged over the pixels that it takes for
    leukocyte, or over the true ones where it finds none, and brought to a sum of 1.

    Args:
        probabilities: of the classes, of the cell's tile.
        truth: labels of the tile.
        ignore_index: label of pixels that do not count.

    Shape:
        (C, H, W), (H, W) -> confidence 0-1, right; None where the truth shows no
        leukocyte.
    """
    cell = (truth != BACKGROUND) & (truth != ignore_index)
    if not cell.any():
        return None
    true_class = int(np.bincount(truth[cell]).argmax())
    taken = probabilities.argmax(axis=0) != BACKGROUND
    where = taken if taken.any() else cell
    means = probabilities[BACKGROUND + 1 :, where].mean(axis=1)
    means = means / max(means.sum(), 1e-12)
    best = int(means.argmax())
    return round(float(means[best]), 6), best + BACKGROUND + 1 == true_class


def summary(pixels: np.ndarray, cells: Sequence[tuple[float, bool]]) -> dict:
    """Return a network's calibration as it is written to the results file.

    Args:
        pixels: the sum of ``pixel_bins`` over all images.
        cells: ``cell_class`` of every cell.
    """
    by_cell = np.array([(c, r) for c, r in cells], np.float64).reshape(-1, 2)
    of_cells = confidence_bins(by_cell[:, 0], by_cell[:, 1])
    return dict(
        pixels=_as_json(np.asarray(pixels, np.float64)), cells=_as_json(of_cells)
    )


def _as_json(counts: np.ndarray) -> dict:
    error = calibration_error(counts)
    # The counts too, so that files of several runs can be added up.
    return dict(
        error=None if error != error else round(error, 3),
        bins=np.round(counts, 4).tolist(),
    )
