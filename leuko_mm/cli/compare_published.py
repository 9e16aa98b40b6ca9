"""Print what published tables say against themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leuko_mm.workflows.published import CheckedTable

# What the figures of a row imply, by the heading of its column.
IMPLIED = {
    "f1": "F1 of P, R",
    "iou": "IoU of P, R",
    "mIoU": "mIoU of P, R, Acc",
    "background_iou": "IoU left to background",
    "class_mIoU": "mIoU of its classes' P, R",
}
NUMBERS = (int, float)


def published_lines(tables: Sequence[CheckedTable]) -> Iterator[str]:
    """Yield every table with what it implies, the rules that it breaks, and the sum."""
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
    letters = _letters(table)
    implied = [key for key in IMPLIED if any(key in row.implied for row in table.rows)]
    header = [*table.columns.values(), *(IMPLIED[key] for key in implied), "breaks"]
    body = [
        [
            *(_cell(row.row.get(key)) for key in table.columns),
            *(_cell(row.implied.get(key)) for key in implied),
            "".join(sorted({letters[c.key, c.rule] for c in row.contradictions})),
        ]
        for row in table.rows
    ]
    words = [isinstance(table.rows[0].row.get(key), str) for key in table.columns]
    yield from _aligned([header, *body], [*words, *(False for _ in implied), True])
    if letters:
        yield ""
    for (key, rule), letter in letters.items():
        found = [
            one
            for row in table.rows
            for one in row.contradictions
            if (one.key, one.rule) == (key, rule)
        ]
        yield f"  {letter}  {rule}: {len(found)} of {len(table.rows)} rows"
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


def _letters(table: CheckedTable) -> dict[tuple[str, str], str]:
    found = dict.fromkeys(
        (one.key, one.rule) for row in table.rows for one in row.contradictions
    )
    return {rule: chr(ord("a") + number) for number, rule in enumerate(found)}


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "x" if value else ""
    if isinstance(value, NUMBERS):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[bool]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, left, strict=True)
        yield "  ".join(
            f"{c:<{w}}" if on else f"{c:>{w}}" for c, w, on in cells
        ).rstrip()
