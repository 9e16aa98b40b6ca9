"""Whether printed scores can be those of leukocyte against background."""

from __future__ import annotations

from itertools import product

from leuko_mm.evaluation.consistency import (
    Contradiction,
    Printed,
    class_contradictions,
    implied_iou,
    outside,
    printed_figures,
    rounding_ends,
)


def binary_contradictions(
    printed: Printed, *, digits: int | None = None, where: str = ""
) -> list[Contradiction]:
    """Return which scores of leukocyte against background contradict each other.

    Taken as: precision, recall and F1 are the leukocyte's, mIoU is the mean of its
    IoU and the background's, accuracy is the share of pixels. Precision and recall
    then give the leukocyte's IoU, and with it mIoU has a ceiling, where the
    background is perfect. With the accuracy too, nothing is free: false alarms and
    missed pixels are known parts of the leukocyte's and of the image, which gives the
    background's IoU.

    Args:
        printed: ``precision``, ``recall`` and ``mIoU``, with or without ``accuracy``
            and the keys of :func:`class_contradictions`, in percent.
        digits: behind the point that they were rounded to; None: not rounded.
        where: the row's name.

    Example:
        >>> row = {"precision": 99.15, "recall": 98.79, "mIoU": 99.73}
        >>> [str(found) for found in binary_contradictions(row, digits=2)]
        ['mIoU 99.73, mIoU <= (100 + IoU of leukocytes) / 2: 0.00 to 98.99']
    """
    found = class_contradictions(printed, digits=digits, where=where)
    known = printed_figures(printed, ("precision", "recall", "mIoU", "accuracy"))
    if not {"precision", "recall", "mIoU"} <= set(known):
        return found
    sides = [rounding_ends(known[key], digits) for key in ("precision", "recall")]
    most = 50 + implied_iou(*(high for _, high in sides)) / 2
    bounds = [("mIoU", (0.0, most), "mIoU <= (100 + IoU of leukocytes) / 2")]
    if "accuracy" in known:
        ends = rounding_ends(known["accuracy"], digits)
        # Smooth over so small a box, so that the extremes lie at its corners.
        corners = [binary_miou(*corner) for corner in product(*sides, ends)]
        corners = [one for one in corners if one == one] or corners
        words = "precision, recall and accuracy give mIoU"
        bounds += [("mIoU", (min(corners), max(corners)), words)]
    return found + outside(known, bounds, digits, where)


def binary_miou(precision: float, recall: float, accuracy: float) -> float:
    """Return the mean IoU of leukocyte and background, all in percent.

    NaN where no confusion matrix has these three.

    Example:
        >>> round(binary_miou(80.0, 80.0, 90.0), 2)
        77.08
    """
    missed, false = 100 / recall - 1, 100 / precision - 1
    errors = 1 - accuracy / 100
    if missed + false <= 0:
        return 100.0 if errors <= 0 else float("nan")
    hit = errors / (missed + false)
    rest = 1 - errors - hit
    if rest < 0:
        return float("nan")
    background = rest / (rest + errors) if rest else 0.0
    return implied_iou(precision, recall) / 2 + 50 * background
