"""Write a prepared dataset, all of it or nothing (see ``datasets.prepared``)."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES, class_id, label_lut
from leuko_mm.datasets.prepared import (
    COLUMNS,
    KINDS,
    PARTS,
    SCHEMA,
    DatasetError,
    IndexRow,
    is_plain_name,
)
from leuko_mm.datasets.replacing import (
    content_hash,
    holds_all,
    move_into,
    refuse_foreign,
    restore_interrupted,
    write_table,
)


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
    end. Writing the same content a second time changes nothing, and splits that
    were added since do not make it different.

    Args:
        out: the dataset's folder.
        cells: what to write; consumed once.
        splits: split name -> {stem: ``train`` or ``test``}.
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
    place = Path(out).resolve()
    building = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        restore_interrupted(place)
        refuse_foreign(out, place)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        _write_all(building, cells, splits, name, source, licence, citation)
        if holds_all(place, building):
            return False
        if not force and place.exists() and any(place.iterdir()):
            raise DatasetError(
                f"{out} exists and holds different content; "
                "add --force to replace it, or choose another --out"
            )
        move_into(place, building)
        return True
    except OSError as error:
        # Processes that start together may all find the dataset missing.
        if building is not None and building.exists() and holds_all(place, building):
            return False
        raise DatasetError(
            f"{out} was not written ({error}), and what stood there is as it was; "
            "mend the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _write_all(root, cells, splits, name, source, licence, citation) -> None:
    for folder in ("images", "masks", "splits"):
        (root / folder).mkdir()
    rows: dict[str, IndexRow] = {}
    for cell in cells:
        if cell.stem in rows:
            raise ValueError(f"stems must be unique, but {cell.stem!r} comes twice")
        rows[cell.stem] = _write_cell(root, cell)
    write_table(root / "index.csv", COLUMNS, map(astuple, rows.values()))
    for split, parts in splits.items():
        write_split(root, split, parts, known=set(rows))
    described = [row for row in rows.values() if row.kind == "cell"]
    counts = Counter(row.class_name for row in described)
    about = {
        "schema": SCHEMA,
        "name": name,
        "source": source,
        "licence": licence,
        "citation": citation,
        "classes": list(CLASS_NAMES),
        "counts": {c: counts[c] for c in CLASS_NAMES if counts[c]},
        "groups": len({row.group for row in described}),
        "sha256": hashlib.sha256((root / "index.csv").read_bytes()).hexdigest(),
    }
    text = json.dumps(about, indent=2) + "\n"
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
    with Image.open(image) as opened:
        width, height = opened.size
    if mask.shape != (height, width):
        raise ValueError(
            f"{cell.stem}: the image is {width}x{height} but its mask is "
            f"{mask.shape[1]}x{mask.shape[0]}; expected the same size"
        )
    mask_path = root / "masks" / f"{cell.stem}.png"
    save_mask(mask_path, mask)
    return IndexRow(
        stem=cell.stem,
        kind=cell.kind,
        class_name=CLASS_NAMES[class_id(cell.class_name)] if cell.class_name else "",
        group=cell.group,
        source=cell.source,
        parent="",
        x="",
        y="",
        scale="",
        width=width,
        height=height,
        image=image.relative_to(root).as_posix(),
        mask=mask_path.relative_to(root).as_posix(),
        sha256=content_hash(image, mask),
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
    strange = np.setdiff1d(mask, [*range(NUM_CLASSES), IGNORE_LABEL]).tolist()
    if strange:
        raise ValueError(
            f"{cell.stem}: the mask holds {strange[:5]}; expected 0 to "
            f"{NUM_CLASSES - 1}, or {IGNORE_LABEL} to ignore"
        )
    if isinstance(image, np.ndarray) and (
        image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
    ):
        raise ValueError(
            f"{cell.stem}: the image must be (H, W, 3) uint8 in RGB, got {image.shape} "
            f"{image.dtype}"
        )


def save_mask(path: Path, labels: np.ndarray) -> None:
    """Write labels (H, W) uint8 as a palette PNG; pixel values are kept exactly."""
    picture = Image.fromarray(labels)
    picture.putpalette(label_lut().ravel().tolist())
    picture.save(path)


def write_split(
    root: Path, split: str, parts: Mapping[str, str], *, known: set[str]
) -> None:
    """Write ``splits/<split>.csv``, refusing unknown stems and parts.

    Args:
        root: the dataset's folder.
        split: a name without a folder or an ending.
        parts: stem -> ``train`` or ``test``.
        known: the stems of the index.

    Raises:
        ValueError: if a name, a stem or a part does not fit.
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
