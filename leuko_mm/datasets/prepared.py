"""A prepared dataset on disk: one folder, one index, splits as files.

    data/<name>/
        images/              image files, as published where they were files
        masks/               palette PNG, pixel value = class id
        nuclei/              where drawn: palette PNG, 1 = nucleus (datasets.nuclei)
        index.csv            one row a cell (or field)
        splits/<split>.csv   stem,part
        dataset.json         name, source, licence, citation, counts, hash

``index.csv`` and ``splits/`` are the one truth about a dataset: every other part
reads them through this module and asks no folder listing. They are written by
``leuko_mm.datasets.prepared_writing``.

A cell cut from a field of the dataset names it: ``parent`` is the stem of the
field's row, ``scale`` the cell's pixels per field pixel, ``x,y`` the upper left
corner of the cell in field pixels, so that a point (u, v) of the cell lies at
(x + u / scale, y + v / scale) of the field (see ``datasets.places``). Otherwise the
four are empty.

A field has class '' and the group of its slide. Splits name cells only; a field
goes where the cells of its group go, or it leaks. Its mask is 255 wherever no cell
was cut out, since nobody has said what is there.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

from leuko_mm.classes import cell_class_name
from leuko_mm.datasets.how_to_prepare import data_home as data_home
from leuko_mm.datasets.how_to_prepare import how_to_mend, not_prepared
from leuko_mm.datasets.how_to_prepare import prepare_command as prepare_command
from leuko_mm.datasets.places import Place, parse_place
from leuko_mm.errors import LeukoError
from leuko_mm.nearest import did_you_mean

SCHEMA = 1
PARTS = ("train", "test")
KINDS = ("cell", "field")


class DatasetError(LeukoError, ValueError):
    """A prepared dataset is missing or broken; the message says what to do."""


@dataclass(frozen=True)
class IndexRow:
    """One row of ``index.csv``; paths are relative to the dataset."""

    stem: str
    kind: str
    class_name: str
    group: str
    source: str
    parent: str
    x: str
    y: str
    scale: str
    width: int
    height: int
    image: str
    mask: str
    sha256: str

    @property
    def place(self) -> Place | None:
        """Where the cell lies in its field, if that is known."""
        return parse_place(self.parent, self.x, self.y, self.scale)


# `class` is a keyword in Python, so the column and the attribute differ.
COLUMNS = tuple("class" if f.name == "class_name" else f.name for f in fields(IndexRow))


def is_plain_name(name: str) -> bool:
    """Tell whether a stem or a split's name can be part of a file's name.

    Example:
        >>> [is_plain_name(n) for n in ("baso_1-1_0", "../baso", "a/b", "")]
        [True, False, False, False]
    """
    names = PurePosixPath(name).name, PureWindowsPath(name).name
    return names == (name, name) and name not in ("", ".", "..") and "\0" not in name


def read_about(root: Path) -> dict:
    """Return the content of ``dataset.json``.

    Raises:
        DatasetError: if ``root`` is not a prepared dataset, or one of another schema.
    """
    root = Path(root)
    path = root / "dataset.json"
    if not path.is_file():
        raise DatasetError(not_prepared(root))
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is broken ({error}); {how_to_mend(root)}") from None
    schema = about.get("schema") if isinstance(about, dict) else None
    if schema != SCHEMA:
        raise DatasetError(
            f"{path}: schema {schema!r}, but this version reads {SCHEMA}; "
            f"{how_to_mend(root)}"
        )
    return about


def read_index(root: Path) -> list[IndexRow]:
    """Return the rows of ``index.csv``.

    Raises:
        DatasetError: if the dataset is not prepared, a row does not fit, a stem
            repeats, or a path leads out of the dataset.
    """
    root = Path(root)
    read_about(root)
    path = root / "index.csv"
    inside = root.resolve()
    rows, seen = [], set()
    for number, cells in _table(root, path, COLUMNS):
        try:
            row = _parse_row(inside, cells)
            if row.stem in seen:
                raise ValueError(f"the stem {row.stem!r} stands there twice")
        except ValueError as error:
            place = f"{path}, line {number}"
            raise DatasetError(f"{place}: {error}; {how_to_mend(root)}") from None
        seen.add(row.stem)
        rows.append(row)
    return rows


def _table(root: Path, path: Path, header: tuple) -> list[tuple[int, list[str]]]:
    """Return (line number, values) of a table, after a look at its first line."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; {how_to_mend(root)}")
    try:
        # Spreadsheets put a byte order mark in front when they save a table.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            first = tuple(next(reader, ()))
            lines = [(reader.line_num, values) for values in reader if values]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} is no table ({error}); {how_to_mend(root)}"
        ) from None
    if first != header:
        raise DatasetError(
            f"{path}: the first line must be {','.join(header)!r}, got "
            f"{','.join(first)!r}; {how_to_mend(root)}"
        )
    return lines


def _parse_row(inside: Path, cells: list[str]) -> IndexRow:
    """Return a checked row; ``inside`` is the dataset's folder without links."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} values, expected {len(COLUMNS)}")
    values = dict(zip((f.name for f in fields(IndexRow)), cells, strict=True))
    values["width"], values["height"] = int(values["width"]), int(values["height"])
    if values["class_name"]:
        values["class_name"] = cell_class_name(values["class_name"])
    row = IndexRow(**values)
    parse_place(row.parent, row.x, row.y, row.scale)
    if not is_plain_name(row.stem):
        raise ValueError(f"the stem {row.stem!r} cannot be part of a file's name")
    if row.kind not in KINDS:
        raise ValueError(f"kind {row.kind!r}, expected one of {KINDS}")
    for column in ("image", "mask"):
        _check_path(inside, column, getattr(row, column))
    return row


def _check_path(inside: Path, column: str, value: str) -> None:
    steps = (PurePosixPath(value), PureWindowsPath(value))
    leaves = any(p.is_absolute() or p.drive or ".." in p.parts for p in steps)
    if not value or leaves or not (inside / value).resolve().is_relative_to(inside):
        raise ValueError(
            f"{column} {value!r} leads out of the dataset; expected a path relative to "
            "it, with no '..' and no link to elsewhere"
        )


def read_split(root: Path, split: str) -> dict[str, str]:
    """Return {stem: part} of ``splits/<split>.csv``.

    Raises:
        DatasetError: if there is no such split (the message lists those there are),
            or a line does not fit.
    """
    root = Path(root)
    read_about(root)
    path = root / "splits" / f"{split}.csv"
    if not is_plain_name(split) or not path.is_file():
        there = sorted(p.stem for p in (root / "splits").glob("*.csv"))
        raise DatasetError(
            f"{root} has no split {split!r}{did_you_mean(split, there)}; it has: "
            f"{', '.join(there) or 'none'}"
            + (f"; choose one with --split {there[-1]}" if there else "")
        )
    parts: dict[str, str] = {}
    for number, row in _table(root, path, ("stem", "part")):
        if len(row) != 2 or row[1] not in PARTS:
            raise DatasetError(
                f"{path}, line {number}: {','.join(row)!r}; expected 'stem,part' with "
                f"a part of {PARTS}"
            )
        if row[0] in parts:
            raise DatasetError(
                f"{path}, line {number}: {row[0]!r} stands there twice; a cell belongs "
                "to one part; remove one of the lines"
            )
        parts[row[0]] = row[1]
    return parts
