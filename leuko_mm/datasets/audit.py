"""The quick part of checking a dataset: everything a training would stumble over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CELL_CLASSES, CLASS_NAMES, IGNORE_LABEL, class_id
from leuko_mm.datasets.prepared import DatasetError, IndexRow, read_index, read_split

SHOWN = 5


def quick_check(root: Path, *, split: str | None = None) -> dict[str, int]:
    """Refuse a dataset that would stop or mislead a training half-way.

    Opens every image header and reads every mask that the split uses.

    Args:
        root: a prepared dataset.
        split: check the cells of this split only; None checks all.

    Returns:
        Cells by part, ``{'train': n, 'test': m}``, or ``{'all': n}``.

    Raises:
        DatasetError: naming the files, what is wrong with them and what to do.
    """
    rows = [row for row in read_index(root) if row.kind == "cell"]
    parts = {row.stem: "all" for row in rows}
    if split is not None:
        parts = read_split(root, split)
        _check_split(root, split, parts, rows)
    used = [row for row in rows if row.stem in parts]
    findings = [f for row in used for f in row_findings(Path(root), row)]
    if findings:
        more = len(findings) - SHOWN
        shown = "\n".join(f"  - {f}" for f in findings[:SHOWN])
        rest = f"\n  and {more} more" if more > 0 else ""
        raise DatasetError(
            f"{root} has {len(findings)} fault(s):\n{shown}{rest}\n"
            "Mend the files, or prepare the dataset again with --force"
        )
    return dict(Counter(parts[row.stem] for row in used))


def _check_split(root, split: str, parts: dict, rows: Sequence[IndexRow]) -> None:
    known = {row.stem for row in rows}
    unknown = [stem for stem in parts if stem not in known]
    if unknown:
        raise DatasetError(
            f"{root}: split {split!r} names {len(unknown)} cell(s) that are not in the "
            f"index, first {unknown[0]!r}; prepare the dataset again with --force"
        )
    if {"train", "test"} - set(parts.values()):
        raise DatasetError(f"{root}: split {split!r} leaves train or test empty")


def row_findings(root: Path, row: IndexRow) -> list[str]:
    """Return what is wrong with one cell's files, in words; empty if nothing is."""
    image_path, mask_path = root / row.image, root / row.mask
    missing = [p for p in (image_path, mask_path) if not p.is_file()]
    if missing:
        return [f"{path} is missing" for path in missing]
    try:
        with Image.open(image_path) as image:
            image_size = image.size
        with Image.open(mask_path) as mask:
            labels = np.array(mask)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        return [f"{row.stem}: cannot be read ({error})"]
    findings = []
    if labels.ndim != 2:
        return [f"{mask_path}: {labels.ndim} dimensions; a mask holds one id a pixel"]
    if labels.shape[::-1] != image_size:
        findings.append(
            f"{mask_path}: {labels.shape[1]}x{labels.shape[0]}, but its image is "
            f"{image_size[0]}x{image_size[1]}"
        )
    return findings + label_findings(mask_path, labels, row.class_name)


def label_findings(path: Path, labels: np.ndarray, class_name: str) -> list[str]:
    """Return what is wrong with the values of one cell's mask."""
    counts = np.bincount(labels.ravel(), minlength=256)
    strange = [
        v for v in np.flatnonzero(counts) if v >= len(CLASS_NAMES) and v != IGNORE_LABEL
    ]
    if strange:
        return [
            f"{path}: value {strange[0]} on {counts[strange[0]]} pixel(s); expected "
            f"0 to {len(CLASS_NAMES) - 1}, or {IGNORE_LABEL} to ignore"
        ]
    present = [c for c in CELL_CLASSES if counts[c.id]]
    if not present and counts[IGNORE_LABEL]:
        return [
            f"{path}: only 0 and {IGNORE_LABEL}; {IGNORE_LABEL} is ignored in "
            "training, so a {0, 255} mask has no leukocyte; give its pixels the class "
            "id"
        ]
    if class_name and class_id(class_name) not in {c.id for c in present}:
        found = ", ".join(c.name for c in present) or "background only"
        return [f"{path}: holds {found}, but the index says {class_name}"]
    return []
