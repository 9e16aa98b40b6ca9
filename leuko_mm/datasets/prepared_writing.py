"""Write a prepared dataset, all of it or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import (
    BACKGROUND,
    CLASS_NAMES,
    IGNORE_LABEL,
    NUM_CLASSES,
    OTHER,
    cell_class_name,
    label_lut,
)
from leuko_mm.datasets.prepared import (
    BY_MODEL,
    DRAWN,
    KINDS,
    OUTLINE_SCHEMA,
    PARTS,
    SCHEMA,
    DatasetError,
    IndexRow,
    Place,
    index_columns,
    is_plain_name,
    read_index,
    read_nucleus,
    save_nucleus,
)
from leuko_mm.files import (
    real_path,
    replace_folder,
    restore_folder,
    sha256_of,
    sha256_of_file,
    write_table,
)


@dataclass(frozen=True)
class PreparedCell:
    """One image with its label array, ready to be written."""

    stem: str  # unique name, also of the files written
    class_name: str  # a name or alias of leuko_mm.classes; '' for a field
    group: str  # the unit that no split may divide, such as a slide
    image: np.ndarray | Path  # RGB uint8 (H, W, 3), or a file that is copied as it is
    mask: np.ndarray  # uint8 (H, W): class ids and 255 for pixels to ignore
    kind: str = "cell"  # or "field"
    source: str = ""  # the published file that the image came from
    place: Place | None = None  # of the cell in its field, a row of the same dataset
    nucleus: np.ndarray | None = None  # bool (H, W), part of the cell, where drawn
    outline: str = DRAWN  # or BY_MODEL


def write_prepared(
    out: Path,
    cells: Iterable[PreparedCell],
    *,
    name: str,
    source: str,
    licence: str,
    citation: str,
    splits: Mapping[str, Mapping[str, str]],
    notes: Sequence[str] = (),
    classes: Sequence[str] = CLASS_NAMES,
    outlined_by: Mapping | None = None,
    force: bool = False,
) -> bool:
    """Write a prepared dataset, all of it or nothing.

    The dataset is built in a folder beside ``out`` and moved into place at the end.
    Writing the same content a second time changes nothing. Splits that were added
    since do not count as a difference; nor does its description, such as the licence,
    which only ``force`` writes again.

    Args:
        out: the dataset's folder.
        cells: consumed once, before notes and splits are read, so that a generator of
            cells may add to them.
        name, source, licence, citation, notes: for ``dataset.json``.
        splits: split name -> {stem: ``train`` or ``test``}.
        classes: names by label; ``BINARY_NAMES`` where the class of cells is not
            known.
        outlined_by: the model that drew outlines, for ``dataset.json``; read late too.
        force: replace a dataset whose content differs, with every split in it. A
            folder that is no dataset is never replaced.

    Returns:
        Whether anything was written.

    Raises:
        DatasetError: if ``out`` holds something else and ``force`` is not given, if
            it is no dataset at all, or if it cannot be written.
        ValueError: if a cell or a split does not fit.
    """
    # Behind a link, the folder that it points to is the one to replace.
    place = real_path(out)
    building = None
    about = dict(name=name, source=source, licence=licence, citation=citation)
    about.update(notes=notes, classes=list(classes))
    if outlined_by is not None:
        about.update(outlined_by=outlined_by)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(place)
        _refuse_foreign(out, place)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        _write_all(building, cells, splits, about)
        if _holds_all(place, building):
            return force and _replace_description(place, building)
        if not force and place.exists() and any(place.iterdir()):
            raise DatasetError(
                f"{out} exists and holds different content; add --force to replace it"
                f"{_lost_splits(place, building)}, or choose another --out"
            )
        replace_folder(place, building)
        return True
    except OSError as error:
        # Processes that start together may all find the dataset missing.
        if building is not None and building.exists() and _holds_all(place, building):
            return False
        raise DatasetError(
            f"{out} was not written ({error}), and a dataset that was there is "
            "unchanged; fix the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _refuse_foreign(out: Path, place: Path) -> None:
    if not place.exists():
        return
    ours = any((place / known).is_file() for known in ("dataset.json", "index.csv"))
    if not place.is_dir() or (any(place.iterdir()) and not ours):
        raise DatasetError(
            f"{out} exists and is not a prepared dataset, so it is not replaced; "
            "choose another --out"
        )


def _lost_splits(place: Path, new: Path) -> str:
    old, made = ({p.stem for p in (r / "splits").glob("*.csv")} for r in (place, new))
    lost = sorted(old - made)
    return f", which drops the splits {', '.join(lost)}" if lost else ""


def _holds_all(place: Path, new: Path) -> bool:
    try:
        rows = read_index(place)
        tables = [new / "index.csv", *(new / "splits").glob("*.csv")]
        return all(
            (place / t.relative_to(new)).read_bytes() == t.read_bytes() for t in tables
        ) and all(row_hash(place, row) == row.sha256 for row in rows)
    except (DatasetError, OSError, SyntaxError):
        return False


def _replace_description(place: Path, building: Path) -> bool:
    old, new = place / "dataset.json", building / "dataset.json"
    if old.read_bytes() == new.read_bytes():
        return False
    os.replace(new, old)
    return True


def row_hash(root: Path, row: IndexRow) -> str:
    """Return the sha256 of a row's files as they are now."""
    with Image.open(root / row.mask) as mask:
        labels = np.array(mask)
    return content_hash(root / row.image, labels, nucleus=read_nucleus(root, row))


def content_hash(
    image: Path, mask: np.ndarray, *, nucleus: np.ndarray | None = None
) -> str:
    """Return the sha256 of an image with its labels, for ``index.csv``.

    A PNG counts by its RGB pixels, since the bytes depend on the encoder's version;
    any other file counts by its bytes.
    """
    if image.suffix == ".png":
        with Image.open(image) as opened:
            content = np.array(opened.convert("RGB")).tobytes()
    else:
        content = image.read_bytes()
    layer = b"" if nucleus is None else nucleus.tobytes()
    return sha256_of(content + mask.tobytes() + layer)


def _write_all(
    root: Path,
    cells: Iterable[PreparedCell],
    splits: Mapping[str, Mapping[str, str]],
    about: Mapping,
) -> None:
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir()
    rows: dict[str, IndexRow] = {}
    for cell in cells:
        if cell.stem in rows:
            former = rows[cell.stem].source
            raise DatasetError(
                f"{cell.stem!r} comes twice, from {former} and {cell.source}; give one "
                "of them another name"
            )
        rows[cell.stem] = _write_cell(root, cell)
    _check_parents(rows)
    by_model = any(row.outline == BY_MODEL for row in rows.values())
    schema = OUTLINE_SCHEMA if by_model else SCHEMA
    columns = index_columns(schema)
    lines = (astuple(row)[: len(columns)] for row in rows.values())
    write_table(root / "index.csv", columns, lines)
    for split, parts in splits.items():
        write_split(root, split, parts, known=set(rows))
    written = [row for row in rows.values() if row.kind == "cell"]
    counts = Counter(row.class_name for row in written)
    content = {
        "schema": schema,
        **about,
        "notes": list(about["notes"]),
        "counts": {c: counts[c] for c in (*about["classes"], OTHER) if counts[c]},
        "groups": len({row.group for row in written}),
        "fields": len(rows) - len(written),
        "sha256": sha256_of_file(root / "index.csv"),
    }
    text = json.dumps(content, indent=2) + "\n"
    (root / "dataset.json").write_text(text, encoding="utf-8")


def _write_cell(root: Path, cell: PreparedCell) -> IndexRow:
    _check_cell(cell)
    mask = np.ascontiguousarray(cell.mask)
    if isinstance(cell.image, np.ndarray):
        image = root / "images" / f"{cell.stem}.png"
        # Compression 1: a few per cent larger, several times faster to write.
        Image.fromarray(cell.image).save(image, compress_level=1)
    else:
        image = root / "images" / f"{cell.stem}{cell.image.suffix.lower()}"
        shutil.copyfile(cell.image, image)
    width, height = _image_size(cell, image)
    if mask.shape != (height, width):
        raise ValueError(
            f"{cell.stem}: the image is {width}x{height} but its mask is "
            f"{mask.shape[1]}x{mask.shape[0]}; expected the same size"
        )
    mask_path = root / "masks" / f"{cell.stem}.png"
    save_mask(mask_path, mask)
    if cell.nucleus is not None:
        save_nucleus(root, cell.stem, cell.nucleus)
    parent, x, y, scale = cell.place.columns() if cell.place else ("",) * 4
    return IndexRow(
        stem=cell.stem,
        kind=cell.kind,
        class_name=cell_class_name(cell.class_name) if cell.class_name else "",
        group=cell.group,
        source=cell.source,
        parent=parent,
        x=x,
        y=y,
        scale=scale,
        width=width,
        height=height,
        image=image.relative_to(root).as_posix(),
        mask=mask_path.relative_to(root).as_posix(),
        sha256=content_hash(image, mask, nucleus=cell.nucleus),
        outline=cell.outline,
    )


def _check_cell(cell: PreparedCell) -> None:
    if not is_plain_name(cell.stem):
        raise ValueError(f"the stem {cell.stem!r} cannot be part of a file's name")
    if cell.kind not in KINDS:
        raise ValueError(f"{cell.stem}: kind {cell.kind!r}, expected one of {KINDS}")
    if cell.kind == "cell" and not (cell.class_name and cell.group):
        raise ValueError(
            f"{cell.stem}: class {cell.class_name!r}, group {cell.group!r}; a cell "
            "needs both, its group being the unit that no split may divide"
        )
    mask, image = cell.mask, cell.image
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(
            f"{cell.stem}: the mask must be (H, W) uint8, got {mask.shape} {mask.dtype}"
        )
    unknown = np.setdiff1d(mask, [*range(NUM_CLASSES), IGNORE_LABEL]).tolist()
    if unknown:
        raise ValueError(
            f"{cell.stem}: the mask holds {unknown[:5]}; expected 0 to "
            f"{NUM_CLASSES - 1}, or {IGNORE_LABEL} to ignore"
        )
    if cell.class_name == OTHER and np.setdiff1d(mask, [BACKGROUND, IGNORE_LABEL]).size:
        raise ValueError(
            f"{cell.stem} is of class {OTHER}, but its mask holds a class; expected 0 "
            f"and {IGNORE_LABEL} only"
        )
    if isinstance(image, np.ndarray) and (
        image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
    ):
        raise ValueError(
            f"{cell.stem}: the image must be (H, W, 3) uint8 in RGB, got {image.shape} "
            f"{image.dtype}"
        )
    if cell.nucleus is not None:
        _check_nucleus(cell.stem, cell.nucleus, mask)


def _check_nucleus(stem: str, nucleus: np.ndarray, mask: np.ndarray) -> None:
    if nucleus.dtype != bool or nucleus.shape != mask.shape:
        raise ValueError(
            f"{stem}: the nucleus must be bool {mask.shape}, got "
            f"{nucleus.dtype} {nucleus.shape}"
        )
    outside = int((nucleus & (mask == BACKGROUND)).sum())
    if outside:
        raise ValueError(
            f"{stem}: {outside} pixel(s) of the nucleus are background in the mask; "
            "the nucleus is part of the cell"
        )


def _check_parents(rows: Mapping[str, IndexRow]) -> None:
    for row in rows.values():
        field = rows.get(row.parent)
        if row.parent and (not field or field.kind != "field"):
            raise ValueError(f"{row.stem}: its parent {row.parent!r} is no field here")
        if field and field.group != row.group:
            raise ValueError(
                f"{row.stem} is of group {row.group!r}, but its field {row.parent!r} "
                f"of {field.group!r}; they share pixels, so they share the group too"
            )


def _image_size(cell: PreparedCell, image: Path) -> tuple[int, int]:
    """Return width and height; a copied file is decoded, to find broken ones."""
    try:
        with Image.open(image) as opened:
            if isinstance(cell.image, Path):
                opened.load()
            return opened.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{cell.stem}: {cell.image} cannot be read ({error}); fix that file or "
            "get it again"
        ) from None


def save_mask(path: Path, labels: np.ndarray) -> None:
    """Write labels (H, W) uint8 as a palette PNG; pixel values are kept exactly."""
    picture = Image.fromarray(labels)
    picture.putpalette(label_lut().ravel().tolist())
    picture.save(path)


def write_split(
    root: Path, split: str, parts: Mapping[str, str], *, known: set[str]
) -> None:
    """Write ``splits/<split>.csv``, given {stem: part} and the stems of the index.

    Raises:
        ValueError: if the name, a stem or a part does not fit.
    """
    if not is_plain_name(split):
        raise ValueError(f"the split {split!r} cannot be part of a file's name")
    for stem, part in parts.items():
        if part not in PARTS or stem not in known:
            raise ValueError(
                f"split {split!r}: {stem!r} -> {part!r}; expected a stem of the index "
                f"and one of the parts {PARTS}"
            )
    folder = Path(root) / "splits"
    folder.mkdir(exist_ok=True)
    write_table(folder / f"{split}.csv", ("stem", "part"), parts.items())
