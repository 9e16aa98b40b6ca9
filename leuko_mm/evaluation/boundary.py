"""Boundary F1: how near predicted outlines are to the true ones."""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.evaluation.cell_scores import Statistic, of_classes
from leuko_mm.evaluation.confusion import mean_defined

# Pixels, at the scale of the network.
TOLERANCE = 2
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def boundary_counts(
    truth: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    *,
    tolerance: int = TOLERANCE,
    ignore_index: int = IGNORE_LABEL,
) -> np.ndarray:
    """Count the outline pixels of each class that are near the other side's outline.

    A pixel is on the outline of its class if one of its four neighbours is of another
    class; the edge of the image is no outline. Outline pixels within ``tolerance`` of
    an ignored pixel, or next to one, are left out on both sides. The outline of the
    background is that of any cell, whatever its class.

    Args:
        truth: integer labels.
        prediction: integer labels, same shape.
        num_classes: C, the number of classes with background.
        tolerance: greatest distance (Euclidean) of pixels that match, in pixels.
        ignore_index: true label of pixels that do not count.

    Shape:
        (H, W), (H, W) -> (C, 2, 2) int64: of each class, for the true outline and for
        the predicted one, the matched pixels and all pixels. They add up over cells.

    Raises:
        ValueError: if the shapes differ, or the tolerance is negative.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 2 or tolerance < 0:
        raise ValueError(
            f"truth has shape {truth.shape}, prediction {prediction.shape} and the "
            f"tolerance is {tolerance}; expected one shape (H, W) and 0 or more pixels"
        )
    near = _disc(tolerance)
    counted = _far_from(truth == ignore_index, near)
    counts = np.zeros((num_classes, 2, 2), np.int64)
    present = np.union1d(truth[truth != ignore_index], prediction)
    for label in present[(present >= 0) & (present < num_classes)]:
        sides = [_outline(labels == label) & counted for labels in (truth, prediction)]
        for row, (own, other) in enumerate((sides, sides[::-1])):
            reached = cv2.dilate(other.astype(np.uint8), near).astype(bool)
            counts[label, row] = (own & reached).sum(), own.sum()
    return counts


def boundary_f1(counts: np.ndarray) -> np.ndarray:
    """Return the boundary F1 of every class, in percent.

    The harmonic mean of the share of the predicted outline that is near the true one
    and the share of the true outline that is near the predicted one. A class with an
    outline on one side only scores 0, one with none NaN.

    Shape:
        (..., C, 2, 2) -> (..., C) float64.

    Reference:
        Csurka et al., What is a good evaluation measure for semantic segmentation?,
        BMVC 2013. Differs: pixels of all images are pooled.
    """
    counts = np.asarray(counts, np.float64)
    matched, every = counts[..., 0], counts[..., 1]
    shares = np.divide(matched, every, out=np.zeros_like(matched), where=every > 0)
    product, total = shares.prod(axis=-1), shares.sum(axis=-1)
    f1 = np.divide(2 * product, total, out=np.zeros_like(total), where=total > 0)
    return np.where(every.any(axis=-1), 100.0 * f1, np.nan)


def boundary_statistics() -> dict[str, Statistic]:
    """Return the metrics of stored outline counts, for intervals and tests.

    ``boundary_f1`` is the mean over the leukocyte classes, ``outline_f1`` that of any
    cell whatever its class. Both take the (N, C, 2, 2) counts of cells.
    """
    return {
        "boundary_f1": of_classes(np.asarray, _mean_of_cells, _true),
        "outline_f1": Statistic(np.asarray, lambda c: boundary_f1(c)[..., BACKGROUND]),
    }


def _mean_of_cells(counts: np.ndarray, counted: np.ndarray | bool) -> np.ndarray:
    values = np.where(counted, boundary_f1(counts), np.nan)
    return mean_defined(np.delete(values, BACKGROUND, axis=-1))


def _true(counts: np.ndarray) -> np.ndarray:
    # The first row counts the true outline: what is near the other, and all of it.
    return counts[..., 0, 1] > 0


def _outline(mask: np.ndarray) -> np.ndarray:
    # Erosion takes what lies outside the image for part of the mask.
    return mask & ~cv2.erode(mask.astype(np.uint8), CROSS).astype(bool)


def _far_from(ignored: np.ndarray, near: np.ndarray) -> np.ndarray:
    if not ignored.any():
        return np.ones(ignored.shape, bool)
    grown = cv2.dilate(cv2.dilate(ignored.astype(np.uint8), CROSS), near)
    return ~grown.astype(bool)


def _disc(radius: int) -> np.ndarray:
    # OpenCV's ellipse of this size is no disc: its corners are rounded differently.
    across = np.arange(-radius, radius + 1)
    return (across[:, None] ** 2 + across**2 <= radius**2).astype(np.uint8)
