"""Check printed tables of scores against themselves, by default those of the paper.

    python tools/paper/published_tables.py
    python tools/paper/published_tables.py other.json

The second form checks another file like ``leuko_mm/report/published.json``. Shown are
the printed scores, those that the printed precision and recall imply, and the rules
that each row breaks by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from leuko_mm.comparison.paper_tables import (
    binary_miou,
    classes_of,
    implied_f1,
    implied_iou,
    implied_scores,
    iou_of_f1,
    load_published,
)
from leuko_mm.errors import UsageError

# Of scores that were not rounded, in percent points.
EXACT = 1e-9
# The keys of a table's row -> those of means over classes. Not F1: a printed one is
# usually that of the printed precision and recall, not a mean of F1s.
AS_MEANS = {"precision": "mPrecision", "recall": "mRecall", "mIoU": "mIoU"}
READINGS = {
    "class": "each row is one class of one confusion matrix",
    "binary": "leukocyte against background",
    "means": "means over all classes, background included",
}
ANY_AVERAGE = "read as means over the same classes or images, "
# Column headings of the implied scores.
IMPLIED = {
    "f1": "F1 of P, R",
    "iou": "IoU of P, R",
    "mIoU": "mIoU of P, R, Acc",
    "background_iou": "IoU left to background",
    "class_mIoU": "mIoU of its classes' P, R",
}
Printed = Mapping[str, float | None]


@dataclass(frozen=True)
class Contradiction:
    """A score that the others rule out.

    Attributes:
        key: which score.
        printed: what was printed, in percent.
        low, high: the range that the others and their rounding allow.
        rule: why.
    """

    key: str
    printed: float
    low: float
    high: float
    rule: str


@dataclass(frozen=True)
class CheckedRow:
    """A printed row, the scores that it implies, and what contradicts itself."""

    row: Mapping
    implied: Mapping[str, float]
    contradictions: Sequence[Contradiction]


@dataclass(frozen=True)
class CheckedTable:
    """A printed table after the check."""

    table: str
    title: str
    reading: str
    columns: Mapping[str, str]
    rows: Sequence[CheckedRow] = field(default_factory=list)


def check_published(path: str | None = None) -> list[CheckedTable]:
    """Check every row of published tables.

    Raises:
        UsageError: if the file is not there, or holds something else.
    """
    published = load_published(path)
    digits, tables = published["digits"], published["tables"]
    return [
        CheckedTable(
            table["table"],
            table["title"],
            READINGS[table["kind"]],
            table["columns"],
            [_checked(table["kind"], row, tables, digits) for row in table["rows"]],
        )
        for table in tables
    ]


def _checked(kind: str, row: Mapping, tables, digits: int) -> CheckedRow:
    implied = implied_scores(kind, row, tables)
    if kind == "class":
        found = class_contradictions(row, digits=digits)
    elif kind == "binary":
        means = {AS_MEANS[key]: row[key] for key in AS_MEANS if key in row}
        found = binary_contradictions(row, digits=digits) + [
            replace(one, rule=ANY_AVERAGE + one.rule)
            for one in mean_contradictions(means, digits=digits)
        ]
    else:
        found = mean_contradictions(row, digits=digits)
        background = implied.get("background_iou")
        # Every printed score may be off by half a step; the mean weighs count times.
        count = len(classes_of(row, tables)) + 1
        loose = (2 * count - 1) * 0.5 * 10.0**-digits
        if background is not None and not -loose <= background <= 100 + loose:
            rule = "the mIoU and the IoU of the classes leave it for the background"
            found = [*found, Contradiction("IoU", background, 0.0, 100.0, rule)]
    return CheckedRow(row, implied, found)


def class_contradictions(
    printed: Printed, *, digits: int | None = None
) -> list[Contradiction]:
    """Return which scores of one class are impossible beside the others.

    Args:
        printed: some of ``precision``, ``recall``, ``f1`` and ``iou``, in percent;
            None and NaN count as not printed.
        digits: decimals that they were rounded to; None: not rounded.
    """
    known = _known(printed, ("precision", "recall", "f1", "iou"))
    ends = {key: _ends(value, digits) for key, value in known.items()}
    bounds = [(key, (0.0, 100.0), "a share") for key in known]
    sides = [ends[key] for key in ("precision", "recall") if key in ends]
    if len(sides) == 2:
        least, most = zip(*sides, strict=True)
        f1 = implied_f1(*least), implied_f1(*most)
        bounds += [("f1", f1, "precision and recall give F1")]
        iou = implied_iou(*least), implied_iou(*most)
        bounds += [("iou", iou, "precision and recall give IoU")]
    if "f1" in ends:
        iou = tuple(map(iou_of_f1, ends["f1"]))
        bounds += [("iou", iou, "IoU = F1 / (2 - F1)")]
    if sides:
        most = min(high for _, high in sides)
        bounds += [("iou", (0.0, most), "IoU <= precision and recall")]
    if len(sides) == 2:
        between = min(low for low, _ in sides), max(high for _, high in sides)
        bounds += [("f1", between, "F1 lies between precision and recall")]
    return _outside(known, bounds, digits)


def mean_contradictions(
    printed: Printed, *, digits: int | None = None
) -> list[Contradiction]:
    """Return which means over the same classes are impossible beside each other.

    An IoU is at most its class's precision, recall and F1, so its mean is at most
    theirs. Since F1 / (2 - F1) is convex, the mean IoU is at least what the mean F1
    gives. Both hold also where an undefined precision or recall is left out of its
    mean: the IoU of such a class is 0.

    Args:
        printed: some of ``mPrecision``, ``mRecall``, ``mF1`` and ``mIoU``, in percent.
        digits: decimals that they were rounded to; None: not rounded.
    """
    keys = ("mPrecision", "mRecall", "mF1", "mIoU")
    known = _known(printed, keys)
    ends = {key: _ends(value, digits) for key, value in known.items()}
    bounds = [(key, (0.0, 100.0), "a share") for key in known]
    highs = [ends[key][1] for key in keys[:3] if key in ends]
    if highs:
        words = "mIoU <= mean precision, recall and F1"
        bounds += [("mIoU", (0.0, min(highs)), words)]
    if "mF1" in ends:
        least = iou_of_f1(ends["mF1"][0])
        bounds += [("mIoU", (least, 100.0), "mIoU >= mF1 / (2 - mF1)")]
    return _outside(known, bounds, digits)


def binary_contradictions(
    printed: Printed, *, digits: int | None = None
) -> list[Contradiction]:
    """Return which scores of leukocyte against background contradict each other.

    Precision, recall and F1 are taken as the leukocyte's, mIoU as the mean of its IoU
    and the background's, accuracy as the share of pixels. Precision and recall give
    the leukocyte's IoU, so mIoU has a maximum, where the background is perfect. With
    the accuracy nothing is free: it gives the background's IoU.

    Args:
        printed: ``precision``, ``recall`` and ``mIoU``, with or without ``accuracy``
            and the keys of :func:`class_contradictions`, in percent.
        digits: decimals that they were rounded to; None: not rounded.
    """
    found = class_contradictions(printed, digits=digits)
    known = _known(printed, ("precision", "recall", "mIoU", "accuracy"))
    if not {"precision", "recall", "mIoU"} <= set(known):
        return found
    sides = [_ends(known[key], digits) for key in ("precision", "recall")]
    most = 50 + implied_iou(*(high for _, high in sides)) / 2
    bounds = [("mIoU", (0.0, most), "mIoU <= (100 + IoU of leukocytes) / 2")]
    if "accuracy" in known:
        ends = _ends(known["accuracy"], digits)
        # Smooth over so small a box, so that the extremes lie at its corners.
        corners = [binary_miou(*corner) for corner in product(*sides, ends)]
        corners = [one for one in corners if one == one] or corners
        words = "precision, recall and accuracy give mIoU"
        bounds += [("mIoU", (min(corners), max(corners)), words)]
    return found + _outside(known, bounds, digits)


def _outside(known: Mapping[str, float], bounds, digits) -> list[Contradiction]:
    """Return the scores that lie outside their bounds by more than rounding."""
    half = _half_step(digits)
    return [
        Contradiction(key, known[key], low, high, rule)
        for key, (low, high), rule in bounds
        if key in known and not low - half <= known[key] <= high + half
    ]


def _known(printed: Printed, keys: Sequence[str]) -> dict[str, float]:
    # NaN is the only number that differs from itself.
    values = {key: printed.get(key) for key in keys}
    return {k: v for k, v in values.items() if v is not None and v == v}


def _ends(value: float, digits: int | None) -> tuple[float, float]:
    """Return the least and the most that a share in percent was before rounding."""
    half = _half_step(digits)
    return max(0.0, value - half), min(100.0, value + half)


def _half_step(digits: int | None) -> float:
    return EXACT if digits is None else 0.5 * 10.0**-digits + EXACT


def report_lines(tables: Sequence[CheckedTable]) -> Iterator[str]:
    """Yield every table with what it implies, the rules that it breaks, and a sum."""
    for table in tables:
        yield f"Table {table.table}. {table.title}"
        yield f"Read as: {table.reading}."
        yield ""
        yield from _table_lines(table)
        yield ""
    rows = [row for table in tables for row in table.rows]
    broken = sum(bool(row.contradictions) for row in rows)
    yield f"{broken} of {len(rows)} rows contradict themselves by more than rounding."


def _table_lines(table: CheckedTable) -> Iterator[str]:
    found = [one for row in table.rows for one in row.contradictions]
    rules = list(dict.fromkeys((one.key, one.rule) for one in found))
    letters = {rule: chr(ord("a") + number) for number, rule in enumerate(rules)}
    implied = [key for key in IMPLIED if any(key in row.implied for row in table.rows)]
    header = [*table.columns.values(), *(IMPLIED[key] for key in implied), "breaks"]
    body = [
        [
            *(_text(row.row.get(key)) for key in table.columns),
            *(_text(row.implied.get(key)) for key in implied),
            "".join(sorted({letters[c.key, c.rule] for c in row.contradictions})),
        ]
        for row in table.rows
    ]
    words = [isinstance(table.rows[0].row.get(key), str) for key in table.columns]
    yield from _aligned([header, *body], [*words, *(False for _ in implied), True])
    if letters:
        yield ""
    for (key, rule), letter in letters.items():
        count = sum((one.key, one.rule) == (key, rule) for one in found)
        yield f"  {letter}  {rule}: {count} of {len(table.rows)} rows"
    yield from _means_of_methods(table)


def _means_of_methods(table: CheckedTable) -> Iterator[str]:
    methods = {row.row["method"]: [] for row in table.rows if "class" in row.row}
    for row in table.rows if methods else ():
        methods[row.row["method"]].append((row.row["iou"], row.implied["iou"]))
    if methods:
        yield ""
    for method, pairs in methods.items():
        printed, implied = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
        yield f"  mean IoU of {method}: printed {printed:.2f}, of P, R {implied:.2f}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "x" if value else ""
    if isinstance(value, int | float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[bool]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        columns = zip(row, widths, left, strict=True)
        yield "  ".join(
            f"{c:<{w}}" if on else f"{c:>{w}}" for c, w, on in columns
        ).rstrip()


def main(argv: list[str] | None = None) -> int:
    """Print the check and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="default: the paper's tables")
    try:
        tables = check_published(parser.parse_args(argv).file)
    except UsageError as error:
        print(f"tools/paper/published_tables.py: {error}", file=sys.stderr)
        return 2
    print("\n".join(report_lines(tables)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
