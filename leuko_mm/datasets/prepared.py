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

It stands in ``nuclei/<stem>.png``, 0 and 1 with a palette, for the datasets whose
publishers drew it. Nothing that trains on masks needs it.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from PIL import Image

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL, cell_class_name
from leuko_mm.errors import LeukoError, did_you_mean

# Datasets whose source has a converter of its own, and how it is called.
_SOURCES = {
    "bcisc": "bcisc PATH_TO_BCISC",
    "segmentation_wbc": "segmentation_wbc PATH_TO_SEGMENTATION_WBC",
    "segmentation_wbc_1": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 1",
    "segmentation_wbc_2": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 2",
    "lisc": "lisc PATH_TO_LISC",
    "synthetic": "synthetic",
}


def data_home() -> Path:
    """Return the folder of prepared datasets: ``$LEUKO_MM_DATA`` or ``data``."""
    return Path(os.environ.get("LEUKO_MM_DATA") or "data")


def prepare_command(root: Path) -> str:
    """Return the command that prepares the dataset of a folder.

    Example:
        >>> prepare_command(data_home() / "bcisc")
        'leuko prepare bcisc PATH_TO_BCISC'
        >>> prepare_command(Path("elsewhere/synthetic"))
        'leuko prepare synthetic --out elsewhere/synthetic'
        >>> prepare_command(data_home() / "smears")
        'leuko prepare folders PATH_TO_YOUR_FOLDER --name smears'
    """
    root = Path(root)
    usual = (data_home() / root.name).absolute() == root.absolute()
    source = _SOURCES.get(root.name, "folders PATH_TO_YOUR_FOLDER")
    if not usual:
        place = f" --out {shlex.quote(str(root))}"
    else:
        place = "" if root.name in _SOURCES else f" --name {shlex.quote(root.name)}"
    return f"leuko prepare {source}{place}"


def how_to_mend(root: Path) -> str:
    """Return what to do about a damaged dataset, with the command."""
    return f"prepare the dataset again:\n    {prepare_command(root)} --force"


def not_prepared(root: Path) -> str:
    """Return what is to be said of a folder that is no prepared dataset.

    A name that is near one that is there, or could be, is taken for a slip.
    """
    state = "is not a prepared dataset" if root.is_dir() else "does not exist"
    where = "" if root.is_absolute() else f" (looked in {Path.cwd()})"
    there = {path.parent.name for path in root.parent.glob("*/dataset.json")}
    known = sorted(there | set(_SOURCES)) if root.name not in _SOURCES else ()
    return (
        f"{root} {state}{did_you_mean(root.name, known)}{where}. Prepare it with:\n"
        f"    {prepare_command(root)}\n"
        "or set LEUKO_MM_DATA to the folder that holds your prepared datasets"
    )


@dataclass(frozen=True)
class Place:
    """The place of a cell's image in its field: ``parent,x,y,scale`` of the index.

    Positions are lengths from the upper left corner of the picture, not from the
    middle of its first pixel: the middle of the pixel in column c lies at c + 0.5.

    Args:
        parent: stem of the field's row.
        x: of the cell's upper left corner in the field, in field pixels.
        y: the same, downwards.
        scale: pixels of the cell's image per pixel of the field; 0.5 where the
            cell shows its field at half size.

    Raises:
        ValueError: if the parent is empty, a number not finite, or the scale not
            above 0.
    """

    parent: str
    x: float
    y: float
    scale: float

    def __post_init__(self):
        """Refuse numbers that place nothing."""
        finite = all(map(math.isfinite, (self.x, self.y, self.scale)))
        if not self.parent or not finite or self.scale <= 0:
            raise ValueError(
                f"place {self.columns()}; expected a field's stem, two finite "
                "numbers and a scale above 0"
            )

    def to_field(self, u: float, v: float) -> tuple[float, float]:
        """Return where a point (u, v) of the cell's image lies in the field.

        Example:
            >>> Place("baso_1-1", 1079, 309, 0.5).to_field(128, 128)
            (1335.0, 565.0)
        """
        return self.x + u / self.scale, self.y + v / self.scale

    def columns(self) -> tuple[str, str, str, str]:
        """Return what stands in the index.

        Example:
            >>> Place("baso_1-1", 1079.0, 309.25, 0.5).columns()
            ('baso_1-1', '1079', '309.25', '0.5')
        """
        numbers = (float(value) for value in (self.x, self.y, self.scale))
        return (self.parent, *(repr(n).removesuffix(".0") for n in numbers))


def parse_place(parent: str, x: str, y: str, scale: str) -> Place | None:
    """Return the place that the columns of an index name, None if they are empty.

    Raises:
        ValueError: if some are empty and others are not, or if they place nothing.

    Example:
        >>> parse_place("baso_1-1", "1079", "309", "0.5")
        Place(parent='baso_1-1', x=1079.0, y=309.0, scale=0.5)
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

    A field pixel takes the label under its middle (nearest). What no cell's image
    shows is ``IGNORE_LABEL``: nobody has drawn there, and a leukocyte that was not
    cut out must not count as background. Where images overlap, a leukocyte in one
    of them stands before the background of the other.

    Args:
        shape: height and width of the field.
        cells: labels (h, w), uint8, with their places.

    Shape:
        (h, w) of each cell -> (H, W), uint8.

    Example:
        >>> cell = np.array([[0, 3]], np.uint8)
        >>> field_labels((3, 5), [(cell, Place("f", 1, 0, 0.5))])
        array([[255,   0,   0,   3,   3],
               [255,   0,   0,   3,   3],
               [255, 255, 255, 255, 255]], dtype=uint8)
    """
    labels = np.full(shape, IGNORE_LABEL, np.uint8)
    for mask, place in cells:
        rows, v = _covered(shape[0], mask.shape[0], place.y, place.scale)
        columns, u = _covered(shape[1], mask.shape[1], place.x, place.scale)
        region, patch = labels[rows, columns], mask[np.ix_(v, u)]
        cell = (patch != BACKGROUND) & (patch != IGNORE_LABEL)
        bare = (region == IGNORE_LABEL) | ((region == BACKGROUND) & cell)
        region[bare] = patch[bare]
    return labels


def _covered(
    field: int, cell: int, start: float, scale: float
) -> tuple[slice, np.ndarray]:
    """Return the field's pixels under a cell along one axis, and the cell's there."""
    first = max(0, math.ceil(start - 0.5))
    last = min(field, math.ceil(start + cell / scale - 0.5))
    middles = np.arange(first, max(first, last)) + 0.5
    inside = np.floor((middles - start) * scale).astype(int)
    return slice(first, max(first, last)), np.clip(inside, 0, cell - 1)


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


_PALETTE = [0, 0, 0, 255, 255, 255]


def nucleus_path(root: Path, stem: str) -> Path:
    """Return where the nucleus of a cell stands, whether or not it was drawn.

    Example:
        >>> nucleus_path(Path("data/segmentation_wbc"), "set1_001").as_posix()
        'data/segmentation_wbc/nuclei/set1_001.png'
    """
    return Path(root) / "nuclei" / f"{stem}.png"


def save_nucleus(root: Path, stem: str, nucleus: np.ndarray) -> None:
    """Write a nucleus, bool (H, W), into a dataset."""
    path = nucleus_path(root, stem)
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(nucleus.astype(np.uint8))
    picture.putpalette(_PALETTE)
    picture.save(path)


def read_nucleus(root: Path, row: IndexRow) -> np.ndarray | None:
    """Return the nucleus of a cell, bool (H, W), or None where none was drawn.

    Args:
        root: a prepared dataset.
        row: the cell's row, from ``read_index``.

    Raises:
        DatasetError: if the file leads out of the dataset, cannot be read, or does
            not fit its cell.
    """
    path = nucleus_path(root, row.stem)
    if not path.is_file():
        return None
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise DatasetError(f"{path} leads out of the dataset; remove that link")
    try:
        with Image.open(path) as picture:
            labels = np.array(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); {how_to_mend(root)}"
        ) from None
    if labels.shape != (row.height, row.width) or labels.max(initial=0) > 1:
        raise DatasetError(
            f"{path}: {labels.shape}, values up to {labels.max(initial=0)}; expected "
            f"{(row.height, row.width)} of 0 and 1; {how_to_mend(root)}"
        )
    return labels.astype(bool)
