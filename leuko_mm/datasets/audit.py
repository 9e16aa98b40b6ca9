"""The quick part of checking a dataset: everything a training would stumble over."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CELL_CLASSES, CLASS_NAMES, IGNORE_LABEL, class_id
from leuko_mm.datasets.prepared import (
    DatasetError,
    IndexRow,
    how_to_mend,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.datasets.splits import shared_groups

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
    root = Path(root)
    rows = [row for row in read_index(root) if row.kind == "cell"]
    if not rows:
        raise DatasetError(f"{root} holds no cell; {how_to_mend(root)}")
    _check_index(root)
    parts = {row.stem: "all" for row in rows}
    if split is not None:
        parts = read_split(root, split)
        _check_split(root, split, parts, rows)
    used = [row for row in rows if row.stem in parts]
    findings = [f for row in used for f in row_findings(root, row)]
    if findings:
        more = len(findings) - SHOWN
        shown = "\n".join(f"  - {f}" for f in findings[:SHOWN])
        rest = f"\n  and {more} more" if more > 0 else ""
        raise DatasetError(
            f"{root} has {len(findings)} fault(s):\n{shown}{rest}\n"
            f"Mend the files, or {how_to_mend(root)}"
        )
    return dict(Counter(parts[row.stem] for row in used))


def _check_index(root: Path) -> None:
    content = (root / "index.csv").read_bytes()
    if hashlib.sha256(content).hexdigest() != read_about(root).get("sha256"):
        raise DatasetError(
            f"{root / 'index.csv'} is not the one that dataset.json was written for: "
            f"it was edited or cut short; {how_to_mend(root)}"
        )


def _check_split(root: Path, split: str, parts: dict, rows: Sequence[IndexRow]) -> None:
    path = root / "splits" / f"{split}.csv"
    groups = {row.stem: row.group for row in rows}
    unknown = [stem for stem in parts if stem not in groups]
    if unknown:
        raise DatasetError(
            f"{path} names {len(unknown)} cell(s) that are not in the index, first "
            f"{unknown[0]!r}; {how_to_mend(root)}"
        )
    if {"train", "test"} - set(parts.values()):
        raise DatasetError(f"{path} leaves train or test empty; {how_to_mend(root)}")
    shared = shared_groups(parts, groups)
    # Random splits share groups by design; the official folds promise not to.
    if shared and re.fullmatch(r"fold\d+", split):
        raise DatasetError(
            f"{path} has {len(shared)} group(s) in train and test, first "
            f"{shared[0]!r}; a fold divides none; {how_to_mend(root)}"
        )


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
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        return [
            f"{mask_path}: {labels.ndim} dimensions of {labels.dtype}; a mask holds "
            "one whole number a pixel, the class id"
        ]
    if image_size != (row.width, row.height):
        findings.append(
            f"{image_path}: {image_size[0]}x{image_size[1]}, but the index says "
            f"{row.width}x{row.height}"
        )
    if labels.shape[::-1] != image_size:
        findings.append(
            f"{mask_path}: {labels.shape[1]}x{labels.shape[0]}, but its image is "
            f"{image_size[0]}x{image_size[1]}"
        )
    return findings + label_findings(mask_path, labels, row.class_name)


def label_findings(path: Path, labels: np.ndarray, class_name: str) -> list[str]:
    """Return what is wrong with the values of one cell's mask."""
    values, pixels = np.unique(labels, return_counts=True)
    counts = dict(zip(values.tolist(), pixels.tolist(), strict=True))
    strange = sorted(counts.keys() - {*range(len(CLASS_NAMES)), IGNORE_LABEL})
    if strange:
        return [
            f"{path}: value {strange[0]} on {counts[strange[0]]} pixel(s); expected "
            f"0 to {len(CLASS_NAMES) - 1}, or {IGNORE_LABEL} to ignore"
        ]
    present = [c for c in CELL_CLASSES if c.id in counts]
    if not present and IGNORE_LABEL in counts:
        return [
            f"{path}: only 0 and {IGNORE_LABEL}; {IGNORE_LABEL} is ignored in "
            "training, so a {0, 255} mask has no leukocyte; give its pixels the class "
            "id"
        ]
    if class_name and class_id(class_name) not in {c.id for c in present}:
        found = ", ".join(c.name for c in present) or "background only"
        return [f"{path}: holds {found}, but the index says {class_name}"]
    return []
