"""Whether a prepared dataset may replace what is there, and whether it differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.datasets.nuclei import read_nucleus
from leuko_mm.datasets.prepared import DatasetError, IndexRow, read_index
from leuko_mm.files import sha256_of


def refuse_foreign(out: Path, place: Path) -> None:
    """Refuse to touch what is no dataset: a file, or a folder of other things.

    Args:
        out: the folder as the user named it.
        place: the same, without links.

    Raises:
        DatasetError: if something else stands there.
    """
    if not place.exists():
        return
    ours = any((place / known).is_file() for known in ("dataset.json", "index.csv"))
    if not place.is_dir() or (any(place.iterdir()) and not ours):
        raise DatasetError(
            f"{out} exists and is not a prepared dataset, so it is not replaced; "
            "choose another --out"
        )


def holds_all(place: Path, new: Path) -> bool:
    """Tell whether a dataset holds all that a new one does, pixel for pixel."""
    try:
        rows = read_index(place)
        tables = [new / "index.csv", *(new / "splits").glob("*.csv")]
        return all(
            (place / t.relative_to(new)).read_bytes() == t.read_bytes() for t in tables
        ) and all(row_hash(place, row) == row.sha256 for row in rows)
    except (DatasetError, OSError, SyntaxError):
        return False


def row_hash(root: Path, row: IndexRow) -> str:
    """Return the sha256 of a row's files as they stand; the index holds what it was."""
    with Image.open(root / row.mask) as mask:
        labels = np.array(mask)
    return content_hash(root / row.image, labels, nucleus=read_nucleus(root, row))


def content_hash(
    image: Path, mask: np.ndarray, *, nucleus: np.ndarray | None = None
) -> str:
    """Return the sha256 of an image with its labels, as ``index.csv`` holds it.

    A PNG counts by its RGB pixels, since encoders differ from one version to the
    next; any other file counts by its bytes.

    Args:
        image: an image file.
        mask: uint8 labels (H, W).
        nucleus: bool (H, W), counted where there is one.
    """
    if image.suffix == ".png":
        with Image.open(image) as opened:
            content = np.array(opened.convert("RGB")).tobytes()
    else:
        content = image.read_bytes()
    layers = mask.tobytes() + (b"" if nucleus is None else nucleus.tobytes())
    return sha256_of(content + layers)
