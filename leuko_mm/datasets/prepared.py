"""A prepared dataset on disk: one folder, one index, splits as files.

    data/<name>/
        images/              image files, as published where they were files
        masks/               palette PNG, pixel value = class id
        index.csv            one row a cell (or field)
        splits/<split>.csv   stem,part
        dataset.json         name, source, licence, citation, counts, hash

``index.csv`` and ``splits/`` are the one truth about a dataset: every other part
reads them through this module and asks no folder listing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL, class_id, label_lut

SCHEMA = 1
PARTS = ("train", "test")


class DatasetError(ValueError):
    """A prepared dataset is missing or broken; the message says what to do."""


@dataclass(frozen=True)
class PreparedCell:
    """One image with its label array, ready to be written.

    Args:
        stem: unique name, also of the files written.
        class_name: a name or alias of ``leuko_mm.classes``; '' for a field.
        group: the unit that no split may divide, such as a slide.
        image: RGB uint8 array (H, W, 3), or a file that is copied as it is.
        mask: uint8 labels (H, W): class ids and 255 for pixels to ignore.
        kind: ``cell`` or ``field``.
        source: the published file that the image came from.
    """

    stem: str
    class_name: str
    group: str
    image: np.ndarray | Path
    mask: np.ndarray
    kind: str = "cell"
    source: str = ""


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


# `class` is a keyword in Python, so the column and the attribute differ.
COLUMNS = tuple("class" if f.name == "class_name" else f.name for f in fields(IndexRow))


def data_home() -> Path:
    """Return the folder of prepared datasets: ``$LEUKO_MM_DATA`` or ``data``."""
    return Path(os.environ.get("LEUKO_MM_DATA") or "data")


def write_prepared(
    out: Path,
    cells: Iterable[PreparedCell],
    *,
    name: str,
    source: str,
    licence: str,
    citation: str,
    splits: Mapping[str, Mapping[str, str]],
    force: bool = False,
) -> bool:
    """Write a prepared dataset, all of it or nothing.

    The dataset is built in a folder beside ``out`` and moved into place at the
    end. Writing the same content a second time changes nothing.

    Args:
        out: the dataset's folder.
        cells: what to write; consumed once.
        splits: split name -> {stem: ``train`` or ``test``}.
        force: replace a dataset whose content differs.

    Returns:
        Whether anything was written.

    Raises:
        DatasetError: if ``out`` holds something else and ``force`` is not given.
        ValueError: if a cell or a split does not fit.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write_all(building, cells, splits, name, source, licence, citation)
        if out.exists():
            if _same_content(out, building):
                return False
            if not force:
                raise DatasetError(
                    f"{out} exists and holds different content; "
                    "add --force to replace it, or choose another --out"
                )
            _replace(out, building)
        else:
            building.chmod(0o755)
            os.replace(building, out)
        return True
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _replace(out: Path, building: Path) -> None:
    """Swap folders so that a complete dataset stands at ``out`` or beside it."""
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    os.replace(out, aside / "replaced")
    building.chmod(0o755)
    os.replace(building, out)
    shutil.rmtree(aside, ignore_errors=True)


def _same_content(old: Path, new: Path) -> bool:
    def relevant(root: Path) -> dict[str, bytes]:
        paths = [root / "index.csv", *sorted((root / "splits").glob("*.csv"))]
        return {str(p.relative_to(root)): p.read_bytes() for p in paths if p.is_file()}

    return relevant(old) == relevant(new)


def _write_all(root, cells, splits, name, source, licence, citation) -> None:
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir()
    rows = [_write_cell(root, cell) for cell in cells]
    stems = [row.stem for row in rows]
    doubled = [stem for stem, count in Counter(stems).items() if count > 1]
    if doubled:
        raise ValueError(f"stems must be unique, but these repeat: {doubled[:5]}")
    with open(root / "index.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(asdict(row).values() for row in rows)
    for split, parts in splits.items():
        write_split(root, split, parts, known=set(stems))
    counts = Counter(row.class_name for row in rows if row.kind == "cell")
    about = {
        "schema": SCHEMA,
        "name": name,
        "source": source,
        "licence": licence,
        "citation": citation,
        "classes": list(CLASS_NAMES),
        "counts": {c: counts[c] for c in CLASS_NAMES if counts[c]},
        "groups": len({row.group for row in rows}),
        "sha256": hashlib.sha256((root / "index.csv").read_bytes()).hexdigest(),
    }
    (root / "dataset.json").write_text(json.dumps(about, indent=2) + "\n")


def _write_cell(root: Path, cell: PreparedCell) -> IndexRow:
    mask = np.ascontiguousarray(cell.mask)
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(
            f"{cell.stem}: the mask must be (H, W) uint8, got {mask.shape} {mask.dtype}"
        )
    if isinstance(cell.image, np.ndarray):
        image_path = root / "images" / f"{cell.stem}.png"
        # Compression 1: a few per cent larger, several times faster to write.
        Image.fromarray(cell.image).save(image_path, compress_level=1)
        height, width = cell.image.shape[:2]
        content = np.ascontiguousarray(cell.image).tobytes()
    else:
        suffix = cell.image.suffix.lower()
        image_path = root / "images" / f"{cell.stem}{suffix}"
        shutil.copyfile(cell.image, image_path)
        with Image.open(image_path) as opened:
            width, height = opened.size
        content = image_path.read_bytes()
    if mask.shape != (height, width):
        raise ValueError(
            f"{cell.stem}: the image is {width}x{height} but its mask is "
            f"{mask.shape[1]}x{mask.shape[0]}"
        )
    mask_path = root / "masks" / f"{cell.stem}.png"
    save_mask(mask_path, mask)
    class_name = CLASS_NAMES[class_id(cell.class_name)] if cell.class_name else ""
    return IndexRow(
        stem=cell.stem,
        kind=cell.kind,
        class_name=class_name,
        group=cell.group,
        source=cell.source,
        parent="",
        x="",
        y="",
        scale="",
        width=width,
        height=height,
        image=str(image_path.relative_to(root)),
        mask=str(mask_path.relative_to(root)),
        sha256=hashlib.sha256(content + mask.tobytes()).hexdigest(),
    )


def save_mask(path: Path, labels: np.ndarray) -> None:
    """Write labels (H, W) uint8 as a palette PNG; pixel values are kept exactly."""
    picture = Image.fromarray(labels)
    picture.putpalette(label_lut().ravel().tolist())
    picture.save(path)


def write_split(
    root: Path, split: str, parts: Mapping[str, str], *, known: set[str]
) -> None:
    """Write ``splits/<split>.csv``, refusing unknown stems and parts."""
    for stem, part in parts.items():
        if part not in PARTS or stem not in known:
            raise ValueError(
                f"split {split!r}: {stem!r} -> {part!r}; expected a stem of the index "
                f"and one of the parts {PARTS}"
            )
    with open(root / "splits" / f"{split}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("stem", "part"))
        writer.writerows(parts.items())


def read_about(root: Path) -> dict:
    """Return the content of ``dataset.json``.

    Raises:
        DatasetError: if ``root`` is not a prepared dataset.
    """
    root = Path(root)
    path = root / "dataset.json"
    if not path.is_file():
        raise DatasetError(_not_prepared(root))
    return json.loads(path.read_text(encoding="utf-8"))


def _not_prepared(root: Path) -> str:
    known = {
        "bcisc": "leuko prepare bcisc PATH_TO_BCISC",
        "synthetic": "leuko prepare synthetic",
    }
    command = known.get(root.name, "leuko prepare SOURCE PATH")
    state = "is not a prepared dataset" if root.is_dir() else "does not exist"
    where = "" if root.is_absolute() else f" (looked in {Path.cwd()})"
    place = "" if root.name in known else f" --out {root}"
    return (
        f"{root} {state}{where}. Prepare it with:\n    {command}{place}\n"
        "or set LEUKO_MM_DATA to the folder that holds your prepared datasets"
    )


def read_index(root: Path) -> list[IndexRow]:
    """Return the rows of ``index.csv``.

    Raises:
        DatasetError: if the dataset is not prepared, or its columns are not ours.
    """
    read_about(root)
    path = Path(root) / "index.csv"
    if not path.is_file():
        raise DatasetError(f"{path} is missing; prepare the dataset again")
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != COLUMNS:
            raise DatasetError(
                f"{path}: columns {header}, expected {COLUMNS}; prepare it again"
            )
        rows = [_parse_row(path, number, cells) for number, cells in enumerate(reader, 2)]
    return rows


def _parse_row(path: Path, number: int, cells: list[str]) -> IndexRow:
    try:
        values = dict(zip((f.name for f in fields(IndexRow)), cells, strict=True))
        values["width"], values["height"] = int(values["width"]), int(values["height"])
    except ValueError as error:
        raise DatasetError(f"{path}, line {number}: {error}") from None
    if values["class_name"]:
        try:
            class_id(values["class_name"])
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from None
    return IndexRow(**values)


def read_split(root: Path, split: str) -> dict[str, str]:
    """Return {stem: part} of ``splits/<split>.csv``.

    Raises:
        DatasetError: if there is no such split; the message lists those there are.
    """
    read_about(root)
    path = Path(root) / "splits" / f"{split}.csv"
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.csv"))
        raise DatasetError(f"{root} has no split {split!r}; it has: {', '.join(there)}")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != ["stem", "part"]:
        raise DatasetError(f"{path}: the first line must be 'stem,part'")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[1] not in PARTS:
            raise DatasetError(
                f"{path}, line {number}: {','.join(row)!r}; expected 'stem,part' with "
                f"a part of {PARTS}"
            )
    return dict(rows[1:])


__all__ = [
    "IGNORE_LABEL",
    "DatasetError",
    "IndexRow",
    "PreparedCell",
    "data_home",
    "read_about",
    "read_index",
    "read_split",
    "save_mask",
    "write_prepared",
    "write_split",
]
