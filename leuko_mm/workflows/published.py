"""Hold published tables of scores against themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.evaluation.binary_consistency import binary_contradictions, binary_miou
from leuko_mm.evaluation.consistency import (
    Contradiction,
    class_contradictions,
    implied_f1,
    implied_iou,
    mean_contradictions,
)

PAPER = Path(str(files("leuko_mm.report") / "published.json"))
# The figures of a table's row -> those of means over classes. Not F1: printed ones
# are as a rule those of the printed precision and recall, not means of F1s.
AS_MEANS = {"precision": "mPrecision", "recall": "mRecall", "mIoU": "mIoU"}
READINGS = {
    "class": "each row is one class of one confusion matrix",
    "binary": "leukocyte against background",
    "means": "means over all classes, background included",
}
ANY_AVERAGE = "read as means over the same classes or images, "


@dataclass(frozen=True)
class CheckedRow:
    """A printed row, what its own figures imply, and what contradicts itself.

    Attributes:
        row: as in the file.
        implied: ``f1`` and ``iou`` of the printed precision and recall; ``mIoU`` of
            these and the accuracy; ``background_iou``, what the printed mIoU needs
            beside the IoUs that another table prints of its classes, and
            ``class_mIoU``, the mean of that and of what their precision and recall
            imply.
        contradictions: none, if the row can be true.
    """

    row: Mapping
    implied: Mapping[str, float]
    contradictions: Sequence[Contradiction]


@dataclass(frozen=True)
class CheckedTable:
    """A printed table after the check.

    Attributes:
        table: its number.
        title: its title.
        reading: what its figures were taken for.
        columns: keys of the rows to the printed names.
        rows: after the check.
    """

    table: str
    title: str
    reading: str
    columns: Mapping[str, str]
    rows: Sequence[CheckedRow] = field(default_factory=list)


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
    if not kinds or not set(kinds) <= set(READINGS) or "digits" not in content:
        raise UsageError(
            f"{place} holds tables of kind {kinds}; expected 'digits' and 'tables', "
            f"each of kind {', '.join(READINGS)}, as in {PAPER}"
        )
    return content


def check_published(path: str | Path | None = None) -> list[CheckedTable]:
    """Check every row of published tables; by default those of the paper.

    Raises:
        UsageError: if the file is not there, or holds something else.

    Example:
        >>> tables = check_published()
        >>> row = tables[0].rows[3]
        >>> row.row["class"], row.row["iou"], round(row.implied["iou"], 2)
        ('basophil', 91.31, 83.07)
        >>> len(row.contradictions)
        3
    """
    published = load_published(path)
    digits = published["digits"]
    check: dict[str, Callable] = {
        "class": _check_class,
        "binary": _check_binary,
        "means": lambda row, digits: _check_means(row, digits, published["tables"]),
    }
    return [
        CheckedTable(
            table=table["table"],
            title=table["title"],
            reading=READINGS[table["kind"]],
            columns=table["columns"],
            rows=[check[table["kind"]](row, digits) for row in table["rows"]],
        )
        for table in published["tables"]
    ]


def _check_class(row: Mapping, digits: int) -> CheckedRow:
    return CheckedRow(row, _implied(row), class_contradictions(row, digits=digits))


def _check_binary(row: Mapping, digits: int) -> CheckedRow:
    implied = _implied(row)
    if implied and "accuracy" in row:
        figures = (row[key] for key in ("precision", "recall", "accuracy"))
        implied["mIoU"] = binary_miou(*figures)
    found = binary_contradictions(row, digits=digits)
    means = {AS_MEANS[key]: row[key] for key in AS_MEANS if key in row}
    return CheckedRow(row, implied, [*found, *_means(means, digits)])


def _means(means: Mapping[str, float], digits: int) -> list[Contradiction]:
    """Return contradictions of another reading, said so in their rule."""
    return [
        Contradiction(
            "", one.key, one.printed, one.low, one.high, ANY_AVERAGE + one.rule
        )
        for one in mean_contradictions(means, digits=digits)
    ]


def _check_means(row: Mapping, digits: int, tables: Sequence[Mapping]) -> CheckedRow:
    """Hold a mean over classes against the classes that another table prints."""
    found = mean_contradictions(row, digits=digits)
    classes = _rows_of(row.get("same_as"), tables)
    if not classes or "mIoU" not in row:
        return CheckedRow(row, {}, found)
    count = len(classes) + 1
    background = count * row["mIoU"] - sum(one["iou"] for one in classes)
    implied = [_implied(one)["iou"] for one in classes]
    # Every printed figure may be off by half a step; the mean weighs count times.
    loose = (2 * count - 1) * 0.5 * 10.0**-digits
    if background > 100 + loose or background < -loose:
        rule = "the mIoU and the IoU of the classes leave it for the background"
        found = [*found, Contradiction("", "IoU", background, 0.0, 100.0, rule)]
    own = (sum(implied) + min(100.0, background)) / count
    return CheckedRow(row, {"background_iou": background, "class_mIoU": own}, found)


def _implied(row: Mapping) -> dict[str, float]:
    if not {"precision", "recall"} <= set(row):
        return {}
    sides = row["precision"], row["recall"]
    return {"f1": implied_f1(*sides), "iou": implied_iou(*sides)}


def _rows_of(same_as: Mapping | None, tables: Sequence[Mapping]) -> list[Mapping]:
    if same_as is None:
        return []
    return [
        row
        for table in tables
        if table["table"] == same_as["table"]
        for row in table["rows"]
        if row["method"] == same_as["method"]
    ]
