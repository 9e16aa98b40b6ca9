"""Checks of the files of a dataset: rules, findings, images, masks and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, OTHER, class_id
from leuko_mm.datasets.images import (
    ImageFacts,
    ImageFileError,
    check_frames,
    image_facts,
    read_image,
    read_mask_file,
)
from leuko_mm.datasets.prepared import DatasetError, IndexRow, nucleus_path
from leuko_mm.datasets.prepared_writing import row_hash

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)
FOLDERS = ("images", "masks", "nuclei")
# Files that file managers write.
LITTER = {"Thumbs.db", "desktop.ini"}
# A second class on a smaller share of a cell's pixels is the fringe of a brush.
FRINGE = 0.02
# A piece of a mask with a smaller share of the largest piece's area is no cell: a
# fragment of a lobed nucleus or of a torn outline.
CELL_SHARE = 0.2
# Masks are compared with their images at this many pixels of the longer side.
COMPARED = 128
# A turned mask says nothing where it overlaps more with the original, or where the two
# cover pixels that differ by less, in standard deviations of the image.
SAME_IOU, SAME_STAIN = 0.7, 0.2
ORIENTATIONS = {
    "mirrored left to right": np.fliplr,
    "mirrored top to bottom": np.flipud,
    "turned by half": lambda mask: mask[::-1, ::-1],
    "with rows and columns exchanged": np.transpose,
}


class AuditRule(NamedTuple):
    """One kind of finding: its heading, usual severity, and usual remedy."""

    title: str
    severity: str
    cure: str


AGAIN = "put a sound copy in its place, or prepare the dataset again with --force"

RULES = {
    "broken-table": AuditRule("tables that cannot be trusted", ERROR, AGAIN),
    "missing-file": AuditRule("missing files", ERROR, AGAIN),
    "unreadable-file": AuditRule("files that cannot be read", ERROR, AGAIN),
    "turned-file": AuditRule(
        "files turned by an EXIF tag",
        ERROR,
        "some readers turn such a file and others do not: save it upright",
    ),
    "size-mismatch": AuditRule(
        "sizes that do not fit",
        ERROR,
        "an image and its mask show the same pixels: export both at one size",
    ),
    "shared-file": AuditRule(
        "files of several cells", ERROR, "give every row of the index its own files"
    ),
    "strange-label": AuditRule(
        "mask values outside the classes",
        ERROR,
        "map them to class ids: leuko prepare folders --map",
    ),
    "only-ignored": AuditRule(
        "masks of 0 and 255 only",
        ERROR,
        "255 is ignored in training: give the cell's pixels its class id",
    ),
    "empty-mask": AuditRule(
        "masks without a cell", ERROR, "draw the cell, or take the row out"
    ),
    "class-mismatch": AuditRule(
        "class of the index and of the mask differ",
        ERROR,
        "decide which of the two is right, and fix the other",
    ),
    "split-leak": AuditRule(
        "the same on both sides of a split",
        ERROR,
        "a test on cells of the training part says nothing: leuko split NAME --join",
    ),
    "near-duplicate": AuditRule(
        "the same picture twice",
        WARNING,
        "remove one of the two; leuko split NAME --join keeps such groups together",
    ),
    "class-conflict": AuditRule(
        "copies of one picture with two classes",
        WARNING,
        "decide which class is right, or remove both",
    ),
    "changed-file": AuditRule(
        "files changed since the dataset was prepared",
        WARNING,
        "prepare it again from the original files, or undo the change",
    ),
    "odd-file": AuditRule(
        "files that not every program reads alike",
        WARNING,
        "leuko_mm reads it by a fixed rule; save an image as 8-bit RGB, a mask as PNG",
    ),
    "extra-file": AuditRule(
        "files that the index does not name", WARNING, "nothing uses it: remove it"
    ),
    "several-classes": AuditRule(
        "masks of several classes",
        WARNING,
        "a cell has one class: give all its pixels that id, the rest 255 or 0",
    ),
    "several-cells": AuditRule(
        "several cells in one picture",
        WARNING,
        "cut a picture for each, or mark the others with 255",
    ),
    "turned-masks": AuditRule(
        "masks that fit their images better when turned",
        WARNING,
        "look at them (leuko browse); turn the masks as the images are",
    ),
    "full-mask": AuditRule(
        "masks that leave no background", WARNING, "is background and cell swapped?"
    ),
    "absent-class": AuditRule(
        "classes that a part of a split lacks",
        WARNING,
        "scores of this class are undefined: take more groups or fewer folds",
    ),
    "cut-cell": AuditRule(
        "cells that touch the border",
        NOTE,
        "harmless for training; size and shape of such a cell are not the whole cell's",
    ),
    "ignored-pixels": AuditRule(
        "masks with pixels to ignore",
        NOTE,
        "255 is neither trained nor scored; if it was meant as a cell, use its id",
    ),
}


@dataclass(frozen=True)
class AuditFinding:
    """One fault of a dataset."""

    rule: str  # a key of RULES
    file: str  # what it is about: a file, or a split or group by its name
    words: str  # what is wrong with it
    stems: tuple[str, ...] = ()  # the pictures that show it
    severity: str = ""  # '' takes the rule's

    def __post_init__(self):
        if not self.severity:
            object.__setattr__(self, "severity", RULES[self.rule].severity)

    @property
    def cure(self) -> str:
        """What to do about it."""
        return RULES[self.rule].cure

    def __str__(self) -> str:
        gap = " " if self.words.startswith("is ") else ": "
        return f"{self.file}{gap}{self.words}"


def about_file(rule: str, path: Path, error: object, stem: str) -> AuditFinding:
    """Return a finding from an error whose message begins with the file's path."""
    words = str(error).removeprefix(str(path)).lstrip(": ")
    return AuditFinding(rule, str(path), words, (stem,))


def by_rule(findings: Iterable[AuditFinding]) -> list[tuple[str, list[AuditFinding]]]:
    """Return the findings grouped by severity and rule, the gravest first."""
    groups: dict[tuple[int, int], list[AuditFinding]] = {}
    order = list(RULES)
    for finding in findings:
        key = SEVERITIES.index(finding.severity), order.index(finding.rule)
        groups.setdefault(key, []).append(finding)
    return [(order[key[1]], groups[key]) for key in sorted(groups)]


def tally(findings: Iterable[AuditFinding]) -> dict[str, int]:
    """Return how many findings there are of each severity."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


@dataclass(frozen=True)
class CellFiles:
    """The files of one row as far as they could be read, and findings about them."""

    image: np.ndarray | None  # RGB uint8 (H, W, 3)
    labels: np.ndarray | None  # whole numbers (H, W)
    findings: tuple[AuditFinding, ...]


def open_cell(
    root: Path,
    row: IndexRow,
    classes: Sequence[str] = CLASS_NAMES,
    *,
    decode: bool = True,
) -> CellFiles:
    """Read a row's mask, and its image or, without ``decode``, only the header of it.

    An image that is cut short goes unnoticed without ``decode``.
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
    if labels is not None and not _is_plain_mask(mask_facts):
        found.append(_odd_file(mask_facts, row))
    if facts is not None:
        if not facts.plain and (image is not None or not decode):
            found.append(_odd_file(facts, row))
        size = f"{facts.width}x{facts.height}"
        if (facts.width, facts.height) != (row.width, row.height):
            words = f"{size}, but the index says {row.width}x{row.height}"
            found.append(_finding("size-mismatch", image_path, words, row))
        if labels is not None and labels.shape != (facts.height, facts.width):
            words = f"{labels.shape[1]}x{labels.shape[0]}, but its image is {size}"
            found.append(_finding("size-mismatch", mask_path, words, row))
    if labels is not None:
        found += label_findings(
            mask_path, labels, row.class_name, classes=classes, stem=row.stem
        )
    return CellFiles(image, labels, tuple(found))


def _finding(rule: str, path: Path, words: str, row: IndexRow) -> AuditFinding:
    return AuditFinding(rule, str(path), words, (row.stem,))


def _facts(path: Path, row: IndexRow, found: list) -> ImageFacts | None:
    if not path.is_file():
        found.append(_finding("missing-file", path, "is missing", row))
        return None
    try:
        facts = image_facts(path)
        check_frames(facts)
    except ImageFileError as error:
        found.append(about_file("unreadable-file", path, error, row.stem))
        return None
    if facts.turned:
        words = "an EXIF tag turns or mirrors it"
        found.append(_finding("turned-file", path, words, row))
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
        found.append(_finding("unreadable-file", path, words, row))
        return None
    return values


def _is_plain_mask(facts: ImageFacts) -> bool:
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
    return _finding("odd-file", facts.path, ", ".join(odd), row)


def changed_since(root: Path, row: IndexRow) -> list[AuditFinding]:
    """Compare the content of a row's readable files with the hash in the index."""
    try:
        if row_hash(root, row) == row.sha256:
            return []
    except DatasetError as error:  # of the nucleus, which nothing else has read
        path = nucleus_path(root, row.stem)
        return [about_file("unreadable-file", path, error, row.stem)]
    words = "image or mask is not what the index was written for"
    return [_finding("changed-file", root / row.image, words, row)]


def file_lists(root: Path, rows: Sequence[IndexRow]) -> list[AuditFinding]:
    """Compare the folders with the index: extra files, and files named twice."""
    named = Counter(path for row in rows for path in (row.image, row.mask))
    owners = {path: row for row in rows for path in (row.image, row.mask)}
    findings = []
    for path, count in named.items():
        if count > 1:
            words = f"named {count} times in the index"
            findings.append(_finding("shared-file", root / path, words, owners[path]))
    known = named.keys() | {f"nuclei/{row.stem}.png" for row in rows}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            inside = path.relative_to(root)
            hidden = any(p.startswith(".") for p in inside.parts) or path.name in LITTER
            if path.is_dir() or hidden or inside.as_posix() in known:
                continue
            words = "is not in the index"
            findings.append(AuditFinding("extra-file", str(path), words))
    return findings


def label_findings(
    path: Path | str,
    labels: np.ndarray,
    class_name: str,
    *,
    classes: Sequence[str] = CLASS_NAMES,
    stem: str = "",
) -> list[AuditFinding]:
    """Return what is wrong with the values of one mask, whole numbers (H, W).

    A ``class_name`` of '' marks a field, which may hold any cells.
    """
    values, pixels = np.unique(labels, return_counts=True)
    counts = dict(zip(values.tolist(), pixels.tolist(), strict=True))
    strange = sorted(counts.keys() - {*range(len(classes)), IGNORE_LABEL})

    def found(rule: str, words: str) -> list[AuditFinding]:
        return [AuditFinding(rule, str(path), words, (stem,) if stem else ())]

    if strange:
        return found(
            "strange-label",
            f"value {strange[0]} on {counts[strange[0]]} pixel(s); expected "
            f"0 to {len(classes) - 1}, or {IGNORE_LABEL} to ignore",
        )
    if not class_name:
        return []
    present = {k: n for k, n in counts.items() if k not in (BACKGROUND, IGNORE_LABEL)}
    if class_name == OTHER and not present and IGNORE_LABEL in counts:
        return []  # as it should be
    if not present and IGNORE_LABEL in counts:
        return found(
            "only-ignored",
            f"only 0 and {IGNORE_LABEL}; {IGNORE_LABEL} is ignored in training, so a "
            "{0, 255} mask has no leukocyte; give its pixels the class id",
        )
    # A binary dataset may still have the class of each cell in its index.
    if class_name == OTHER:
        own = None
    else:
        own = 1 if len(classes) == 2 else class_id(class_name)
    if own not in present:
        rule = "class-mismatch" if present else "empty-mask"
        shown = ", ".join(classes[value] for value in present) or "background only"
        return found(rule, f"holds {shown}, but the index says {class_name}")
    findings = []
    area = sum(present.values())
    others = {k: n for k, n in present.items() if k != own and n > FRINGE * area}
    if others:
        words = ", ".join(f"{classes[k]} on {n} pixel(s)" for k, n in others.items())
        findings += found("several-classes", f"beside {classes[own]} also {words}")
    if BACKGROUND not in counts and IGNORE_LABEL not in counts:
        findings += found("full-mask", f"{classes[own]} on every pixel")
    if IGNORE_LABEL in counts:
        share = counts[IGNORE_LABEL] / sum(counts.values())
        findings += found(
            "ignored-pixels",
            f"{counts[IGNORE_LABEL]} pixel(s), {share:.1%} of the picture, are "
            f"{IGNORE_LABEL}",
        )
    return findings


def cell_findings(
    path: Path | str, labels: np.ndarray, *, stem: str = ""
) -> list[AuditFinding]:
    """Return what is odd about the pieces of one cell's mask (H, W)."""
    cell = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    stems = (stem,) if stem else ()
    findings = []
    areas = cell_areas(cell)
    if len(areas) > 1:
        words = f"{len(areas)} separate pieces of {', '.join(map(str, areas))} pixels"
        findings.append(AuditFinding("several-cells", str(path), words, stems))
    sides = dict(top=cell[0], bottom=cell[-1], left=cell[:, 0], right=cell[:, -1])
    cut = {name: int(line.sum()) for name, line in sides.items() if line.any()}
    if cut and not cell.all():
        words = "on the border: " + ", ".join(f"{n} px {s}" for s, n in cut.items())
        findings.append(AuditFinding("cut-cell", str(path), words, stems))
    return findings


def cell_areas(cell: np.ndarray) -> list[int]:
    """Return the areas of the pieces of a mask that may be cells, the largest first."""
    found = cv2.connectedComponentsWithStats(cell.astype(np.uint8), connectivity=8)
    areas = sorted(found[2][1:, cv2.CC_STAT_AREA].tolist(), reverse=True)
    return [area for area in areas if area >= CELL_SHARE * areas[0]]


def fitting_orientations(image: np.ndarray, labels: np.ndarray) -> dict[str, bool]:
    """Return whether a mask covers darker pixels when it is turned.

    Stained nuclei are darker than what is around them. Orientations without a clear
    answer are left out.

    Args:
        image: RGB uint8 (H, W, 3).
        labels: whole numbers (H, W).
    """
    size = [max(1, side * COMPARED // max(labels.shape)) for side in labels.shape[::-1]]
    green = cv2.resize(image[..., 1], size, interpolation=cv2.INTER_AREA)
    cell = np.uint8((labels != BACKGROUND) & (labels != IGNORE_LABEL))
    cell = cv2.resize(cell, size, interpolation=cv2.INTER_NEAREST) > 0
    if not cell.any():
        return {}
    same, found = SAME_STAIN * green.std(), {}
    for name, turn in ORIENTATIONS.items():
        mask = turn(cell)
        if mask.shape != cell.shape:
            continue
        overlap = (mask & cell).sum() / (mask | cell).sum()
        darker = green[cell].mean() - green[mask].mean()
        if overlap < SAME_IOU and abs(darker) > same:
            found[name] = bool(darker > 0)
    return found


def turned_masks(compared: Iterable[Mapping[str, bool]]) -> str | None:
    """Return how masks fit better than they are, None if they fit as they are.

    Args:
        compared: ``fitting_orientations`` of each image.
    """
    better, worse = Counter(), Counter()
    for orientations in compared:
        for name, fits in orientations.items():
            (better if fits else worse)[name] += 1
    if not better:
        return None
    name, count = max(better.items(), key=lambda one: one[1] - worse[one[0]])
    seen = count + worse[name]
    # Masks that have nothing to do with the images are better in half of them.
    if count - worse[name] <= 2 * seen**0.5:
        return None
    return f"{count} of {seen} masks fit their images better {name}"
