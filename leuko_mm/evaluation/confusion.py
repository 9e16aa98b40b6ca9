"""Confusion matrices of label maps, and every metric that follows from one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.classes import BACKGROUND, BINARY_NAMES, CLASS_NAMES, IGNORE_LABEL

Score = float | None

METRIC_KEYS = (
    "mIoU",
    "mIoU_fg",
    "mF1",
    "mPrecision",
    "mRecall",
    "pixel_accuracy",
    "ovr_accuracy",
)
CLASS_KEYS = ("precision", "recall", "f1", "iou", "ovr_accuracy")
# Means over classes, and the score of a class that each is the mean of.
MEAN_OF = {
    "mIoU": "iou",
    "mF1": "f1",
    "mPrecision": "precision",
    "mRecall": "recall",
    "ovr_accuracy": "ovr_accuracy",
}
STYLES = ("markdown", "plain")
HEADER = ("class", "precision", "recall", "F1", "IoU", "one-vs-rest acc.")
# Of every row of means its title, and the metric of each column ("": empty).
MEAN_ROWS = (
    ("mean, with background", "mPrecision", "mRecall", "mF1", "mIoU", "ovr_accuracy"),
    ("mean, foreground", "", "", "", "mIoU_fg", ""),
)


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix in percent; None where one is undefined."""

    metrics: dict[str, Score]
    per_class: dict[str, dict[str, Score]]


def confusion_matrix(
    truth: np.ndarray,
    prediction: np.ndarray,
    num_classes: int,
    *,
    ignore_index: int = IGNORE_LABEL,
) -> np.ndarray:
    """Count the pixels of every (true class, predicted class) pair.

    A pixel is left out only where the truth is ``ignore_index``, whatever is predicted
    there. Everywhere else both labels must name a class.

    Args:
        truth: integer labels, any shape.
        prediction: integer labels, same shape.
        num_classes: C, the number of classes with background.
        ignore_index: true label that takes a pixel out of the count.

    Shape:
        (...), (...) -> (C, C) int64, rows truth, columns prediction.

    Raises:
        ValueError: if the shapes differ, a map is not of integers, or a label
            outside 0 ... C-1 is met where the truth is not ignored.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} but prediction {prediction.shape}; "
            "expected the same; bring the prediction back to the size of its mask"
        )
    for side, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "biu":
            raise ValueError(
                f"{side} has dtype {labels.dtype}; expected integer labels; "
                "take the argmax of logits or cast the mask"
            )
    counted = truth != ignore_index
    rows = _class_ids(truth[counted], num_classes, "truth")
    columns = _class_ids(prediction[counted], num_classes, "prediction")
    pairs = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    # (C*C,) -> (C, C)
    return pairs.astype(np.int64).reshape(num_classes, num_classes)


def _class_ids(labels: np.ndarray, num_classes: int, side: str) -> np.ndarray:
    labels = labels.astype(np.int64)
    outside = np.unique(labels[(labels < 0) | (labels >= num_classes)])
    if outside.size:
        named = ", ".join(str(value) for value in outside[:5])
        raise ValueError(
            f"{side} holds the label {named}, which names no class; expected "
            f"0 to {num_classes - 1}; check the mask's values and the model's "
            "number of classes"
        )
    return labels


def scores(confusion: np.ndarray, names: Sequence[str] | None = None) -> Scores:
    """Turn a confusion matrix into the project's scores, in percent.

    Means are over all classes with background, as the paper's 91.89; only ``mIoU_fg``
    leaves the background out. The paper's Acc (eq. 11) can be read in two ways:
    ``pixel_accuracy`` is the share of pixels on the diagonal, ``ovr_accuracy`` the mean
    over classes of (TP + TN) / all pixels with the class against the rest.

    A class in neither truth nor prediction scores None. Predicted but not in the truth:
    IoU, F1 and precision 0, recall None. In the truth but never predicted: IoU, F1 and
    recall 0, precision None. A None is left out of means.

    Args:
        confusion: (C, C) pixel counts, rows truth, columns prediction.
        names: the C class names; by default the project's for C of 6 and 2.

    Raises:
        ValueError: if the matrix is not square and non-negative, or the names
            do not fit it.

    Examples:
        >>> result = scores(np.array([[50, 10], [5, 35]]))
        >>> {key: round(value, 2) for key, value in result.metrics.items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'mIoU': 73.46, 'mIoU_fg': 70.0, 'mF1': 84.65, 'mPrecision': 84.34,
         'mRecall': 85.42, 'pixel_accuracy': 85.0, 'ovr_accuracy': 85.0}
        >>> result.per_class["leukocyte"]["recall"]
        87.5
    """
    counts = np.asarray(confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ValueError(
            f"confusion has shape {counts.shape}; expected a square matrix of "
            "non-negative counts, rows truth, columns prediction"
        )
    names = _names(len(counts), names)
    columns = class_scores(counts)
    means = mean_scores(counts)
    metrics = {key: _number(means[key]) for key in METRIC_KEYS}
    per_class = {
        name: {key: _number(columns[key][row]) for key in CLASS_KEYS}
        for row, name in enumerate(names)
    }
    return Scores(metrics=metrics, per_class=per_class)


def merge_leukocytes(confusion: np.ndarray) -> np.ndarray:
    """Merge all leukocyte classes: background against any leukocyte.

    Shape:
        (..., C, C) -> (..., 2, 2), rows truth, columns prediction.

    Examples:
        >>> merge_leukocytes(np.array([[90, 1, 2], [3, 10, 4], [0, 5, 20]])).tolist()
        [[90, 3], [3, 39]]
    """
    counts = np.asarray(confusion)
    starts = [0, 1]  # of the background's rows and columns, and of all others
    return np.add.reduceat(np.add.reduceat(counts, starts, axis=-2), starts, axis=-1)


def _names(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        known = {len(CLASS_NAMES): CLASS_NAMES, len(BINARY_NAMES): BINARY_NAMES}
        names = known.get(count)
    if names is None or len(names) != count or len(set(names)) != count:
        raise ValueError(
            f"the confusion matrix has {count} classes and the names are {names}; "
            f"expected {count} different names; pass them as names="
        )
    return tuple(names)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of every class of any number of matrices, in percent.

    The policy for absent classes is that of :func:`scores`, with NaN for None.

    Shape:
        (..., C, C) -> ``CLASS_KEYS`` to (..., C) float64.
    """
    counts = np.asarray(confusion, np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    either = true + predicted - hit
    # A class that nobody mentions has no accuracy either: its total is set to 0.
    total = np.where(either > 0, counts.sum(axis=(-2, -1))[..., None], 0.0)
    return {
        "precision": _percent(hit, predicted),
        "recall": _percent(hit, true),
        "f1": _percent(2 * hit, true + predicted),
        "iou": _percent(hit, either),
        "ovr_accuracy": _percent(total - (either - hit), total),
    }


def mean_scores(
    confusion: np.ndarray, counted: np.ndarray | bool = True
) -> dict[str, np.ndarray]:
    """Return the means over classes, with and without background, in percent.

    Args:
        confusion: pixel counts, rows truth, columns prediction.
        counted: whether a class enters the means.

    Shape:
        (..., C, C), (..., C) -> ``METRIC_KEYS``, and each mean over classes with
        ``_fg`` appended for the one without background, to (...) float64; NaN if
        undefined.
    """
    counts = np.asarray(confusion, np.float64)
    columns = class_scores(counts)
    foreground = np.arange(counts.shape[-1]) != BACKGROUND
    means = {}
    for name, key in MEAN_OF.items():
        column = np.where(counted, columns[key], np.nan)
        means[name] = mean_defined(column)
        means[f"{name}_fg"] = mean_defined(column[..., foreground])
    hit = np.trace(counts, axis1=-2, axis2=-1)
    means["pixel_accuracy"] = _percent(hit, counts.sum(axis=(-2, -1)))
    return means


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is no NaN; NaN where all are."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(whole), np.nan)
    return 100.0 * np.divide(part, whole, out=undefined, where=whole > 0)


def _number(value: float) -> Score:
    return None if np.isnan(value) else float(value)


def per_class_table(
    per_class: Mapping[str, Mapping[str, float | None]],
    metrics: Mapping[str, float | None],
    *,
    style: str = "markdown",
) -> str:
    """Return a run's scores as an aligned table, percentages with two decimals.

    One row a class, then the means; the accuracies are in a line below.

    Args:
        per_class: ``per_class`` of a results file.
        metrics: ``metrics`` of a results file.
        style: ``markdown`` or ``plain`` (for terminals and logs).

    Raises:
        ValueError: if the style is neither of the two.
    """
    if style not in STYLES:
        raise ValueError(f"unknown table style {style!r}; expected one of {STYLES}")
    class_rows = [
        (name, *(_decimals(values.get(key)) for key in CLASS_KEYS))
        for name, values in per_class.items()
    ]
    mean_rows = [
        (title, *(_decimals(metrics.get(key)) if key else "" for key in keys))
        for title, *keys in MEAN_ROWS
    ]
    table = _aligned(class_rows, mean_rows, markdown=style == "markdown")
    pixel, one_vs_rest = (
        _decimals(metrics.get(key)) for key in ("pixel_accuracy", "ovr_accuracy")
    )
    return (
        f"{table}\n\npixel accuracy {pixel} %, mean one-vs-rest accuracy "
        f"{one_vs_rest} %"
    )


def _decimals(value: float | None) -> str:
    # NaN is the only number that differs from itself.
    return "-" if value is None or value != value else f"{value:.2f}"


def _aligned(
    class_rows: list[tuple[str, ...]],
    mean_rows: list[tuple[str, ...]],
    *,
    markdown: bool,
) -> str:
    rows = [HEADER, *class_rows, *mean_rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    left, gap, right = ("| ", " | ", " |") if markdown else ("", "  ", "")

    def line(row: tuple[str, ...]) -> str:
        name, *numbers = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return (left + gap.join((name, *numbers)) + right).rstrip()

    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        body = [line(HEADER), line(tuple(rule)), *map(line, [*class_rows, *mean_rows])]
    else:
        rule = "-" * (sum(widths) + len(gap) * (len(widths) - 1))
        body = [line(HEADER), *map(line, class_rows), rule, *map(line, mean_rows)]
    return "\n".join(body)
