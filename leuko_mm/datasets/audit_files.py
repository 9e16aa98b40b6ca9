"""The files of a dataset: there, whole, of one size, and none too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.datasets.audit_finding import AuditFinding, about_file
from leuko_mm.datasets.image_files import check_frames, read_image
from leuko_mm.datasets.image_headers import ImageFacts, ImageFileError, image_facts
from leuko_mm.datasets.mask_files import read_mask_file
from leuko_mm.datasets.prepared import DatasetError, IndexRow
from leuko_mm.datasets.replacing import row_hash

FOLDERS = ("images", "masks", "nuclei")
# What file managers leave behind.
LITTER = {"Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class CellFiles:
    """What could be read of one row, and what is wrong with its files.

    Args:
        image: RGB uint8 (H, W, 3); None if it was not decoded or cannot be.
        labels: whole numbers (H, W); None if the mask cannot be used.
        findings: about the two files.
    """

    image: np.ndarray | None
    labels: np.ndarray | None
    findings: tuple[AuditFinding, ...]


def open_cell(root: Path, row: IndexRow, *, decode: bool = True) -> CellFiles:
    """Read a row's mask, and its image too or only what its header says.

    Args:
        root: a prepared dataset.
        row: of its index.
        decode: read the image to its end; without, a file cut short goes unnoticed.
    """
    found: list[AuditFinding] = []
    image_path, mask_path = root / row.image, root / row.mask
    facts = _facts(image_path, row, found)
    image = None
    if facts is not None and decode:
        try:
            image = read_image(image_path)
        except ImageFileError as error:
            found.append(about_file("unreadable-file", image_path, error, row.stem))
    mask_facts = _facts(mask_path, row, found)
    labels = None if mask_facts is None else _labels(mask_path, row, found)
    if labels is not None and not _plain_mask(mask_facts):
        found.append(_odd_file(mask_facts, row))
    if facts is not None:
        if not facts.plain and (image is not None or not decode):
            found.append(_odd_file(facts, row))
        if (facts.width, facts.height) != (row.width, row.height):
            words = f"{facts.width}x{facts.height}, but the index says "
            found.append(_size(image_path, words + f"{row.width}x{row.height}", row))
        if labels is not None and labels.shape != (facts.height, facts.width):
            words = f"{labels.shape[1]}x{labels.shape[0]}, but its image is "
            found.append(_size(mask_path, words + f"{facts.width}x{facts.height}", row))
    return CellFiles(image, labels, tuple(found))


def _size(path: Path, words: str, row: IndexRow) -> AuditFinding:
    return AuditFinding("size-mismatch", str(path), words, (row.stem,))


def _facts(path: Path, row: IndexRow, found: list) -> ImageFacts | None:
    """Return what a header says, or None after noting why the file is of no use."""
    if not path.is_file():
        found.append(AuditFinding("missing-file", str(path), "is missing", (row.stem,)))
        return None
    try:
        facts = image_facts(path)
        check_frames(facts)
    except ImageFileError as error:
        found.append(about_file("unreadable-file", path, error, row.stem))
        return None
    if facts.turned:
        words = "an EXIF tag turns or mirrors it"
        found.append(AuditFinding("turned-file", str(path), words, (row.stem,)))
        return None
    return facts


def _labels(path: Path, row: IndexRow, found: list) -> np.ndarray | None:
    try:
        values = read_mask_file(path).values
    except ImageFileError as error:
        found.append(about_file("unreadable-file", path, error, row.stem))
        return None
    if values.ndim != 2:
        words = "holds colours; a mask holds one whole number a pixel, the class id"
        found.append(AuditFinding("unreadable-file", str(path), words, (row.stem,)))
        return None
    return values


def _plain_mask(facts: ImageFacts) -> bool:
    """Tell whether a mask is what datasets hold: a PNG of bytes."""
    usual = facts.format == "PNG" and facts.mode in ("L", "P") and facts.bits == 8
    return usual and not facts.alpha and facts.suffix_fits


def _odd_file(facts: ImageFacts, row: IndexRow) -> AuditFinding:
    odd = []
    if facts.bits != 8:
        odd.append(f"{facts.bits} bits a channel")
    if facts.alpha:
        odd.append("an alpha channel")
    if not facts.suffix_fits:
        odd.append(f"{facts.format} by its content")
    if not odd:
        odd.append(f"{facts.format} of type {facts.mode}")
    return AuditFinding("odd-file", str(facts.path), ", ".join(odd), (row.stem,))


def changed_since(root: Path, row: IndexRow) -> list[AuditFinding]:
    """Compare the content of a row's files, which are known to be readable."""
    try:
        if row_hash(root, row) == row.sha256:
            return []
    except DatasetError as error:  # of the nucleus, which nothing else has read
        path = root / "nuclei" / f"{row.stem}.png"
        return [about_file("unreadable-file", path, error, row.stem)]
    words = "image or mask is not what the index was written for"
    return [AuditFinding("changed-file", str(root / row.image), words, (row.stem,))]


def file_lists(root: Path, rows: Sequence[IndexRow]) -> list[AuditFinding]:
    """Compare the folders with the index: files beside it, and files named twice."""
    named = Counter(path for row in rows for path in (row.image, row.mask))
    owners = {path: row.stem for row in rows for path in (row.image, row.mask)}
    findings = [
        AuditFinding(
            "shared-file",
            str(root / path),
            f"named {count} times in the index",
            (owners[path],),
        )
        for path, count in named.items()
        if count > 1
    ]
    known = named.keys() | {f"nuclei/{row.stem}.png" for row in rows}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            hidden = any(p.startswith(".") for p in inside.parts) or path.name in LITTER
            if path.is_dir() or hidden or inside.as_posix() in known:
                continue
            findings.append(
                AuditFinding("extra-file", str(path), "is not in the index")
            )
    return findings
