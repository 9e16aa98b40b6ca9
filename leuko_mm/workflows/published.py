"""Tables published by others, and the scores that their printed rows imply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from leuko_mm.errors import UsageError

PAPER = Path(str(files("leuko_mm.report") / "published.json"))
# What the rows of a table are, by its ``kind``.
KINDS = ("class", "binary", "means")


def load_published(path: str | Path | None = None) -> dict:
    """Read published tables; by default those of the paper.

    Raises:
        UsageError: if the file is not there, or holds something else.
    """
    place = PAPER if path is None else Path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UsageError(
            f"{place} cannot be read as published tables: {fault}; expected a file "
            f"like {PAPER}"
        ) from fault
    tables = content.get("tables") if isinstance(content, dict) else None
    kinds = [t.get("kind") for t in tables or () if isinstance(t, dict)]
    if not kinds or not set(kinds) <= set(KINDS) or "digits" not in content:
        raise UsageError(
            f"{place} holds tables of kind {kinds}; expected 'digits' and 'tables', "
            f"each of kind {', '.join(KINDS)}, as in {PAPER}"
        )
    return content


def implied_scores(kind: str, row: Mapping, tables: Sequence[Mapping]) -> dict:
    """Return the scores that the printed ones of a row imply, in percent.

    Args:
        kind: of the row's table.
        row: as printed; ``same_as`` names the table and the method whose rows are the
            classes of a mean.
        tables: all tables of the file.

    Returns:
        ``f1`` and ``iou`` of the printed precision and recall; of ``binary`` rows also
        ``mIoU`` of these and the accuracy; of ``means`` ``background_iou``, what the
        printed mIoU needs beside the printed IoUs of its classes, and ``class_mIoU``,
        the mean of that and of the IoUs that their precision and recall imply.

    Example:
        >>> tables = load_published()["tables"]
        >>> row = tables[0]["rows"][3]
        >>> (
        ...     row["class"],
        ...     row["iou"],
        ...     round(implied_scores("class", row, tables)["iou"], 2),
        ... )
        ('basophil', 91.31, 83.07)
    """
    if kind == "means":
        return _implied_means(row, classes_of(row, tables))
    if not {"precision", "recall"} <= set(row):
        return {}
    sides = row["precision"], row["recall"]
    implied = {"f1": implied_f1(*sides), "iou": implied_iou(*sides)}
    if kind == "binary" and "accuracy" in row:
        implied["mIoU"] = binary_miou(*sides, row["accuracy"])
    return implied


def _implied_means(row: Mapping, classes: Sequence[Mapping]) -> dict[str, float]:
    if not classes or "mIoU" not in row:
        return {}
    count = len(classes) + 1
    background = count * row["mIoU"] - sum(one["iou"] for one in classes)
    implied = [implied_iou(one["precision"], one["recall"]) for one in classes]
    mean = (sum(implied) + min(100.0, background)) / count
    return {"background_iou": background, "class_mIoU": mean}


def classes_of(row: Mapping, tables: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of the classes that a row of means is over, where printed."""
    same_as = row.get("same_as")
    if same_as is None:
        return []
    return [
        other
        for table in tables
        if table["table"] == same_as["table"]
        for other in table["rows"]
        if other["method"] == same_as["method"]
    ]


def implied_f1(precision: float, recall: float) -> float:
    """Return the F1 of a precision and a recall, all in percent.

    Example:
        >>> round(implied_f1(93.04, 88.57), 2)
        90.75
    """
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def iou_of_f1(f1: float) -> float:
    """Return the IoU that an F1 is the same as: F1 / (2 - F1), in percent.

    Example:
        >>> round(iou_of_f1(90.75), 2)
        83.07
    """
    return 100 * f1 / (200 - f1)


def implied_iou(precision: float, recall: float) -> float:
    """Return the IoU of a precision and a recall, all in percent.

    Example:
        >>> round(implied_iou(93.04, 88.57), 2)
        83.07
    """
    return iou_of_f1(implied_f1(precision, recall))


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
