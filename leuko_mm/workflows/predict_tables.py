"""The tables of a prediction, made from the records of its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from leuko_mm.classes import BACKGROUND
from leuko_mm.files import printable, write_table
from leuko_mm.inference.differential import DifferentialRow, differential_of_counts

CELLS, DIFFERENTIAL, IMAGE_TABLE = "cells.csv", "differential.csv", "images.csv"
# What makes a spreadsheet take a text for a formula, alone or after white space.
FORMULA_MARKS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
SHAPE = ("eccentricity", "solidity", "circularity")
SCALE = ("factor", "how", "confidence", "red_cell_px", "red_cells", "note")


def harmless(value: object) -> object:
    """Return a table's cell that no spreadsheet takes for a formula.

    Example:
        >>> harmless("=1+1"), harmless("a=b"), harmless(-1.5)
        ("'=1+1", 'a=b', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    risky = value[:1] in FORMULA_MARKS or value.lstrip()[:1] in FORMULA_MARKS
    return f"'{text}" if value and risky else text


def write_tables(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    classes: Sequence[str],
) -> None:
    """Write ``cells.csv``, ``differential.csv`` and ``images.csv``, each in one move.

    Args:
        out: folder of the results.
        records: of the images, in order.
        failed: image and reason.
        classes: names by id, the background first.
    """
    names = [name for number, name in enumerate(classes) if number != BACKGROUND]
    _write(out / CELLS, cell_header(names), cell_rows(records))
    header = ("class", "count", "percent", "low95", "high95")
    _write(out / DIFFERENTIAL, header, _differential_rows(records, names))
    scale = [f"scale_{key}" for key in SCALE]
    header = ("image", "status", "reason", "width", "height", "cells", *names, *scale)
    _write(out / IMAGE_TABLE, header, image_rows(records, failed, names))


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    write_table(path, header, ([harmless(value) for value in row] for row in rows))


def cell_header(names: Sequence[str]) -> list[str]:
    """Return the columns of ``cells.csv``, given the classes of cells."""
    return [
        *("image", "id", "class", "confidence"),
        *(f"p_{name}" for name in names),
        *("p_background", "area_px", "x", "y", "x0", "y0", "x1", "y1"),
        *("touches_border", *SHAPE),
    ]


def cell_rows(records: Iterable[Mapping]) -> Iterator[list]:
    """Yield the rows of ``cells.csv``."""
    for record in records:
        for cell in record["cells"]:
            yield [
                *(record["image"], cell["id"], cell["class"], cell["confidence"]),
                *cell["probabilities"][BACKGROUND + 1 :],
                *(cell["background"], cell["area"], *cell["centroid"], *cell["box"]),
                *(int(cell["touches_border"]), *(cell[key] for key in SHAPE)),
            ]


def counts_of(records: Iterable[Mapping], names: Sequence[str]) -> dict[str, int]:
    """Return the cells of each class over all records."""
    counts = dict.fromkeys(names, 0)
    for record in records:
        for cell in record["cells"]:
            counts[cell["class"]] += 1
    return counts


def count_table(
    records: Iterable[Mapping], names: Sequence[str]
) -> tuple[DifferentialRow, ...]:
    """Return the differential count over all records."""
    return differential_of_counts(counts_of(records, names))


def _differential_rows(records: Sequence[Mapping], names: Sequence[str]):
    for row in count_table(records, names):
        shares = (round(share, 2) for share in (row.percent, row.low, row.high))
        yield (row.name, row.count, *shares)


def image_rows(
    records: Iterable[Mapping], failed: Mapping[str, str], names: Sequence[str]
) -> list[list]:
    """Return the rows of ``images.csv``: what was done and what failed, by name."""
    rows = [
        [
            *(record["image"], "done", "", record["width"], record["height"]),
            *(len(record["cells"]), *counts_of([record], names).values()),
            *(record["scale"][key] for key in SCALE),
        ]
        for record in records
    ]
    empty = [""] * (3 + len(names) + len(SCALE))
    rows += [[name, "failed", reason, *empty] for name, reason in failed.items()]
    return sorted(rows, key=lambda row: row[0])
