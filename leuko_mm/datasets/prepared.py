"""A prepared dataset on disk: one folder, one index, splits as files.

data/<name>/
        images/              image files, as published where they were files
        masks/               palette PNG, pixel value = class id
        nuclei/              where drawn: palette PNG, 1 = nucleus
        index.csv            one row a cell (or field)
        splits/<split>.csv   stem,part
        dataset.json         name, source, licence, citation, counts, hash

Everything about a dataset is read from ``index.csv`` and ``splits/``; no folder is
listed. ``leuko_mm.datasets.prepared_writing`` writes them.

A cell cut from a field of the dataset names it: ``parent`` is the stem of the field's
row, ``scale`` the cell's pixels per field pixel, and ``x,y`` the upper left corner of
the cell in field pixels. Otherwise the four are empty. A field has class '' and the
group of its slide. Splits name cells only; a field goes where the cells of its group
go, or it leaks. Its mask is 255 wherever no cell was cut out, unless the whole field
was labelled.

A cell of class ``other`` is none of the five: its own pixels are 255. In schema 2, a
column ``outline`` says whether a mask was drawn by people or by a model; it is written
only where a model drew some.
"""

from __future__ import annotations

import csv
import math
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image

from leuko_mm.classes import (
    BACKGROUND,
    BINARY_NAMES,
    CLASS_NAMES,
    IGNORE_LABEL,
    OTHER,
    cell_class_name,
)
from leuko_mm.errors import LeukoError, did_you_mean
from leuko_mm.files import read_any_json, real_path

SCHEMA, OUTLINE_SCHEMA = SCHEMAS = (1, 2)
PARTS = ("train", "test")
NOT_STATED = "not stated"  # a licence or citation
KINDS = ("cell", "field")
DRAWN, BY_MODEL = OUTLINES = ("drawn", "model")
# Datasets whose source has a converter of its own -> its arguments.
SOURCES = {
    "bcisc": "bcisc PATH_TO_BCISC",
    "segmentation_wbc": "segmentation_wbc PATH_TO_SEGMENTATION_WBC",
    "segmentation_wbc_1": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 1",
    "segmentation_wbc_2": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 2",
    "lisc": "lisc PATH_TO_LISC",
    "bccd": "bccd PATH_TO_BCCD",
    "pbc": "pbc PATH_TO_PBC",
    "synthetic": "synthetic",
}
NUCLEUS_PALETTE = [0, 0, 0, 255, 255, 255]


class DatasetError(LeukoError, ValueError):
    """A prepared dataset is missing or broken; the message says what to do."""


def data_home() -> Path:
    """Return the folder of prepared datasets: ``$LEUKO_MM_DATA`` or ``data``."""
    return Path(os.environ.get("LEUKO_MM_DATA") or "data")


def dataset_root(name: str) -> Path:
    """Return the folder of a prepared dataset, given its name or a path."""
    is_path = any(s in str(name) for s in (os.sep, "/")) or name in (".", "..")
    return Path(name) if is_path else data_home() / name


def prepare_command(root: Path) -> str:
    """Return the command that prepares the dataset of a folder."""
    root = Path(root)
    source = SOURCES.get(root.name, "folders PATH_TO_YOUR_FOLDER")
    if (data_home() / root.name).absolute() != root.absolute():
        option = f" --out {shlex.quote(str(root))}"
    else:
        option = "" if root.name in SOURCES else f" --name {shlex.quote(root.name)}"
    return f"leuko prepare {source}{option}"


def how_to_fix(root: Path) -> str:
    """Return what to do about a damaged dataset, with the command."""
    return f"prepare the dataset again:\n    {prepare_command(root)} --force"


def _not_prepared(root: Path) -> str:
    state = "is not a prepared dataset" if root.exists() else "does not exist"
    where = "" if root.is_absolute() else f" (looked in {Path.cwd()})"
    there = {path.parent.name for path in root.parent.glob("*/dataset.json")}
    known = sorted(there | set(SOURCES)) if root.name not in SOURCES else ()
    return (
        f"{root} {state}{did_you_mean(root.name, known)}{where}. Prepare it with:\n"
        f"    {prepare_command(root)}\n"
        "or set LEUKO_MM_DATA to the folder that holds your prepared datasets"
    )


def is_plain_name(name: str) -> bool:
    """Tell whether a stem or a split's name can be part of a file's name."""
    names = PurePosixPath(name).name, PureWindowsPath(name).name
    return names == (name, name) and name not in ("", ".", "..") and "\0" not in name


@dataclass(frozen=True)
class Place:
    """The place of a cell's image in its field: ``parent,x,y,scale`` of the index.

    Positions are measured from the upper left corner of the picture: the middle of
    the pixel in column c is at c + 0.5.

    Raises:
        ValueError: if the parent is empty, a number not finite, or the scale not
            above 0.
    """

    parent: str  # stem of the field's row
    x: float  # of the cell's upper left corner in the field, in field pixels
    y: float
    scale: float  # pixels of the cell's image per pixel of the field

    def __post_init__(self):
        finite = all(map(math.isfinite, (self.x, self.y, self.scale)))
        if not self.parent or not finite or self.scale <= 0:
            raise ValueError(
                f"place {self.columns()}; expected a field's stem, two finite "
                "numbers and a scale above 0"
            )

    def columns(self) -> tuple[str, str, str, str]:
        """Return the values of the four columns of the index."""
        numbers = (float(value) for value in (self.x, self.y, self.scale))
        return (self.parent, *(repr(n).removesuffix(".0") for n in numbers))


def parse_place(parent: str, x: str, y: str, scale: str) -> Place | None:
    """Return the place in four columns of an index, None if they are empty.

    Raises:
        ValueError: if only some are empty, or if they are no place.
    """
    columns = (parent, x, y, scale)
    if not any(columns):
        return None
    if not all(columns):
        raise ValueError(f"parent,x,y,scale are {columns}; give all four or none")
    return Place(parent, float(x), float(y), float(scale))


def field_labels(
    shape: tuple[int, int], cells: Iterable[tuple[np.ndarray, Place]]
) -> np.ndarray:
    """Put the masks of cells back into their field.

    A field pixel takes the label under its middle (nearest). Pixels that no cell's
    image shows are ``IGNORE_LABEL``: a leukocyte that was not cut out must not count
    as background. Where images overlap, a leukocyte wins over background.

    Shape:
        labels (h, w) of each cell -> ``shape`` (H, W) of the field, uint8.
    """
    labels = np.full(shape, IGNORE_LABEL, np.uint8)
    for mask, place in cells:
        rows, v = _covered(shape[0], mask.shape[0], place.y, place.scale)
        columns, u = _covered(shape[1], mask.shape[1], place.x, place.scale)
        region, patch = labels[rows, columns], mask[np.ix_(v, u)]
        cell = (patch != BACKGROUND) & (patch != IGNORE_LABEL)
        free = (region == IGNORE_LABEL) | ((region == BACKGROUND) & cell)
        region[free] = patch[free]
    return labels


def _covered(
    field: int, cell: int, start: float, scale: float
) -> tuple[slice, np.ndarray]:
    first = max(0, math.ceil(start - 0.5))
    last = max(first, min(field, math.ceil(start + cell / scale - 0.5)))
    middles = np.arange(first, last) + 0.5
    inside = np.floor((middles - start) * scale).astype(int)
    return slice(first, last), np.clip(inside, 0, cell - 1)


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
    outline: str = DRAWN  # or BY_MODEL; no column in schema 1

    @property
    def place(self) -> Place | None:
        """The place of the cell in its field, if that is known."""
        return parse_place(self.parent, self.x, self.y, self.scale)


# `class` is a keyword in Python, so the column and the attribute differ.
COLUMNS = tuple("class" if f.name == "class_name" else f.name for f in fields(IndexRow))


def index_columns(schema: int) -> tuple[str, ...]:
    """Return the columns of ``index.csv``; schema 1 has no ``outline``."""
    return COLUMNS if schema == OUTLINE_SCHEMA else COLUMNS[:-1]


def read_about(root: Path) -> dict:
    """Return the content of ``dataset.json``.

    Raises:
        DatasetError: if ``root`` is not a prepared dataset, or one of another schema.
    """
    root = Path(root)
    path = root / "dataset.json"
    if not path.is_file():
        raise DatasetError(_not_prepared(root))
    try:
        about = read_any_json(path)
    except ValueError as error:
        raise DatasetError(f"{path} is broken ({error}); {how_to_fix(root)}") from None
    schema = about.get("schema") if isinstance(about, dict) else None
    if schema not in SCHEMAS:
        raise DatasetError(
            f"{path}: schema {schema!r}, but this version reads "
            f"{' and '.join(map(str, SCHEMAS))}; {how_to_fix(root)}"
        )
    classes = about.get("classes") or [*CLASS_NAMES]
    if classes not in ([*CLASS_NAMES], [*BINARY_NAMES]):
        raise DatasetError(
            f"{path}: classes {str(classes)[:60]}; expected {', '.join(CLASS_NAMES)}, "
            f"or {', '.join(BINARY_NAMES)}; {how_to_fix(root)}"
        )
    return about


def is_binary(root: Path) -> bool:
    """Tell whether a dataset has leukocytes without their class."""
    return len(read_about(root).get("classes", CLASS_NAMES)) == 2


def read_index(root: Path) -> list[IndexRow]:
    """Return the rows of ``index.csv``.

    Raises:
        DatasetError: if the dataset is not prepared, a row does not fit, a stem
            repeats, or a path leads out of the dataset.
    """
    root = Path(root)
    columns = index_columns(read_about(root)["schema"])
    path = root / "index.csv"
    resolved = real_path(root)
    rows, seen = [], set()
    for number, values in _table(root, path, columns):
        try:
            row = _parse_row(resolved, values, len(columns))
            if row.stem in seen:
                raise ValueError(f"the stem {row.stem!r} occurs twice")
        except ValueError as error:
            line = f"{path}, line {number}"
            raise DatasetError(f"{line}: {error}; {how_to_fix(root)}") from None
        seen.add(row.stem)
        rows.append(row)
    return rows


def cell_rows(root: Path, *, other: bool = False) -> list[IndexRow]:
    """Return the rows of cells, those of class ``other`` only if asked for."""
    rows = (row for row in read_index(root) if row.kind == "cell")
    return [row for row in rows if other or row.class_name != OTHER]


def _table(root: Path, path: Path, header: tuple) -> list[tuple[int, list[str]]]:
    if not path.is_file():
        raise DatasetError(f"{path} is missing; {how_to_fix(root)}")
    try:
        # Spreadsheets put a byte order mark in front when they save a table.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            first = tuple(next(reader, ()))
            lines = [(reader.line_num, values) for values in reader if values]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} is no table ({error}); {how_to_fix(root)}"
        ) from None
    if first != header:
        raise DatasetError(
            f"{path}: the first line must be {','.join(header)!r}, got "
            f"{','.join(first)!r}; {how_to_fix(root)}"
        )
    return lines


def _parse_row(root: Path, values: list[str], count: int) -> IndexRow:
    if len(values) != count:
        raise ValueError(f"{len(values)} values, expected {count}")
    named = dict(zip((f.name for f in fields(IndexRow)), values, strict=False))
    named["width"], named["height"] = int(named["width"]), int(named["height"])
    if named["class_name"]:
        named["class_name"] = cell_class_name(named["class_name"])
    row = IndexRow(**named)
    parse_place(row.parent, row.x, row.y, row.scale)
    if not is_plain_name(row.stem):
        raise ValueError(f"the stem {row.stem!r} cannot be part of a file's name")
    if row.kind not in KINDS:
        raise ValueError(f"kind {row.kind!r}, expected one of {KINDS}")
    if row.outline not in OUTLINES:
        raise ValueError(f"outline {row.outline!r}, expected one of {OUTLINES}")
    for column in ("image", "mask"):
        _check_path(root, column, getattr(row, column))
    return row


def _check_path(root: Path, column: str, value: str) -> None:
    paths = (PurePosixPath(value), PureWindowsPath(value))
    leaves = any(p.is_absolute() or p.drive or ".." in p.parts for p in paths)
    if not value or leaves or not real_path(root / value).is_relative_to(root):
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
                f"{path}, line {number}: {row[0]!r} occurs twice; a cell belongs to "
                "one part; remove one of the lines"
            )
        parts[row[0]] = row[1]
    return parts


def nucleus_path(root: Path, stem: str) -> Path:
    """Return the file of a cell's nucleus, whether or not it exists."""
    return Path(root) / "nuclei" / f"{stem}.png"


def save_nucleus(root: Path, stem: str, nucleus: np.ndarray) -> None:
    """Write a nucleus, bool (H, W), into a dataset."""
    path = nucleus_path(root, stem)
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(nucleus.astype(np.uint8))
    picture.putpalette(NUCLEUS_PALETTE)
    picture.save(path)


def read_nucleus(root: Path, row: IndexRow) -> np.ndarray | None:
    """Return the nucleus of a cell, bool (H, W), or None where none was drawn.

    Raises:
        DatasetError: if the file leads out of the dataset, cannot be read, or does
            not fit its cell.
    """
    path = nucleus_path(root, row.stem)
    if not path.is_file():
        return None
    if not real_path(path).is_relative_to(real_path(root)):
        raise DatasetError(f"{path} leads out of the dataset; remove that link")
    try:
        with Image.open(path) as picture:
            labels = np.array(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); {how_to_fix(root)}"
        ) from None
    if labels.shape != (row.height, row.width) or labels.max(initial=0) > 1:
        raise DatasetError(
            f"{path}: {labels.shape}, values up to {labels.max(initial=0)}; expected "
            f"{(row.height, row.width)} of 0 and 1; {how_to_fix(root)}"
        )
    return labels.astype(bool)
