"""Convert BCCD: fields with masks of leukocytes, and the class of each field's one.

Expected tree (pictures and classes: Shenggan/BCCD_Dataset on GitHub; masks: the
repository ``MASKS``; both MIT):

    BCCD/
        images/BloodImage_NNNNN.jpg           640x480 RGB
        masks/BloodImage_Mask_NNNNN.png       nucleus 255, cytoplasm 155, rest 0
        labels.csv                            ,Image,Category

Nucleus and cytoplasm are merged to the cell, and the nucleus is kept as a layer. Where
the table has one category and the mask one leukocyte, it has that class; elsewhere
leukocytes are 255. A square around each named leukocyte is a cell, cut out pixel for
pixel. The rest of a field is background, but 255 where the table names more leukocytes
than the mask has.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, class_id
from leuko_mm.datasets.converters.grey_masks import (
    NO_SLIDE,
    cell_and_nucleus,
    groups_of_pairs,
    picture_splits,
)
from leuko_mm.datasets.duplicates import find_copies, picture_of
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import DatasetError, Place
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

FIELDS = 367
LEVELS = (0, 155, 255)
# 37 masks went through JPEG: their cytoplasm is 145 to 175, and edges are soft.
NEAR = 25
CROP = 480  # pixels of a square around a cell, which is then as large as one of BCISC
SPECK = 0.05  # of the area of the largest piece in a mask
HOME = "https://github.com/Shenggan/BCCD_Dataset"
MASKS = (
    "https://github.com/ParthaPratimBanik/An-Automatic-Nucleus-Segmentation-and-CNN-"
    "Model-based-Classification-Method-of-White-Blood-Cell"
)
CITATION = (
    f"Shenggan, BCCD dataset, {HOME}; masks from {MASKS}: P. P. Banik, R. Saha, "
    "K.-D. Kim, An automatic nucleus segmentation and CNN model based classification "
    "method of white blood cell, Expert Syst. Appl. 149, 113211 (2020)"
)


class _Field(NamedTuple):
    image: Path
    mask: Path
    names: list[str]  # of the classes that the table has for it


def prepare_bccd(source: Path, out: Path, *, force: bool = False) -> bool:
    """Write the fields of BCCD, and a cell for each leukocyte whose class is known.

    Folds are stratified by class; a cell has the group of its field.

    Raises:
        DatasetError: if images, masks or the table are missing or do not fit.
    """
    fields = _fields(Path(source))
    notes = ["who drew the masks is not said", NO_SLIDE]
    if len(fields) != FIELDS:
        notes.append(f"{len(fields)} of the {FIELDS} fields that were published")
    splits: dict = {}
    return write_prepared(
        out,
        _rows(fields, splits, notes),
        name="bccd",
        source=HOME,
        licence="MIT (both repositories)",
        citation=CITATION,
        splits=splits,
        notes=notes,
        force=force,
    )


def _fields(source: Path) -> list[_Field]:
    images, masks = (
        {path.stem.rpartition("_")[2]: path for path in sorted(source.glob(pattern))}
        for pattern in ("images/BloodImage_*.jpg", "masks/BloodImage_Mask_*.png")
    )
    if not images:
        raise DatasetError(
            f"no images/BloodImage_00000.jpg, ... in {source}; give the folder that "
            "holds images/, masks/ and labels.csv"
        )
    if unpaired := images.keys() ^ masks.keys():
        raise DatasetError(
            f"{source}: number {min(unpaired)} has an image or a mask but not both; "
            "get it again"
        )
    names = _class_names(source / "labels.csv")
    return [
        _Field(image, masks[number], names.get(number.lstrip("0") or "0", []))
        for number, image in images.items()
    ]


def _class_names(path: Path) -> dict[str, list[str]]:
    """Return number of the image -> names of the classes in it."""
    found: dict[str, list[str]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for line in (reader := csv.DictReader(file)):
                if None in line.values():
                    raise ValueError(f"line {reader.line_num} is too short")
                words = [word for word in line["Category"].split(",") if word]
                if line["Image"] in found:
                    raise ValueError(f"image {line['Image']} is there twice")
                found[line["Image"]] = [CLASS_NAMES[class_id(word)] for word in words]
    except KeyError as error:
        raise DatasetError(f"{path}: no column {error}; get it again") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: {error}; get it again") from None
    return found


def _rows(
    fields: Sequence[_Field], splits: dict, notes: list[str]
) -> Iterator[PreparedCell]:
    # Fields that overlap show one cell twice, which only its cut-outs tell. Rows are
    # made twice, since all of them would take half a gigabyte.
    pictures, groups, cells = {}, {}, {}
    for row in _ungrouped(fields, []):
        image = row.image if row.kind == "cell" else read_image(row.image)
        pictures[row.stem], groups[row.stem] = picture_of(image), row.group
        if row.kind == "cell":
            cells[row.stem] = row.class_name
    if not cells:
        raise DatasetError("no field has one leukocyte and one class")
    joined = groups_of_pairs(groups, find_copies(pictures, groups), notes)
    splits.update(picture_splits({stem: joined[stem] for stem in cells}, cells))
    for row in _ungrouped(fields, notes):
        yield replace(row, group=joined[row.stem])


def _ungrouped(fields: Sequence[_Field], notes: list[str]) -> Iterator[PreparedCell]:
    """Yield each field, then its cell if it has one, as groups of their own."""
    soft: list[str] = []
    unnamed: list[str] = []
    for one in fields:
        labels, nucleus = cell_and_nucleus(
            one.mask, 1, LEVELS, soft, one.mask.name, near=NEAR
        )
        leukocytes, count = _without_specks(labels, notes, one.mask.name)
        stem, named = one.image.stem, count == len(one.names) == 1
        label = class_id(one.names[0]) if named else IGNORE_LABEL
        rest = IGNORE_LABEL if len(one.names) > count else BACKGROUND
        field = PreparedCell(
            stem=stem,
            class_name="",
            group=stem,
            image=one.image,
            mask=np.where(leukocytes, label, rest).astype(np.uint8),
            kind="field",
            source=f"images/{one.image.name}",
            nucleus=nucleus & leukocytes,
        )
        yield field
        if named:
            yield _cut_out(field, one.names[0], leukocytes)
        else:
            named_as = " and ".join(one.names) or "no class"
            unnamed.append(f"{stem} ({count} in the mask, {named_as})")
    if soft:
        notes.append(
            f"soft masks, as JPEG leaves them: {len(soft)}; each value was taken as "
            f"the nearest of {', '.join(map(str, LEVELS))}"
        )
    if unnamed:
        notes.append(
            f"leukocytes of {len(unnamed)} fields are {IGNORE_LABEL}, and no cell was "
            f"cut out: {', '.join(unnamed)}"
        )


def _without_specks(
    labels: np.ndarray, notes: list[str], name: str
) -> tuple[np.ndarray, int]:
    """Return which pixels are leukocytes, and how many leukocytes they are."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(labels, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    specks = areas < SPECK * areas.max()
    if specks.any():
        sizes = ", ".join(map(str, areas[specks]))
        notes.append(
            f"{name}: {specks.sum()} speck(s) of {sizes} pixels dropped, below "
            f"{SPECK:.0%} of the largest piece"
        )
    whole = 1 + np.flatnonzero(~specks)
    return np.isin(pieces, whole), len(whole)


def _cut_out(field: PreparedCell, name: str, leukocyte: np.ndarray) -> PreparedCell:
    height, width = leukocyte.shape
    if min(height, width) < CROP:
        raise DatasetError(
            f"{field.image}: the mask is {width}x{height}; expected {CROP} or more"
        )
    left, top, wide, tall = cv2.boundingRect(leukocyte.astype(np.uint8))
    x = min(max(0, left + (wide - CROP) // 2), width - CROP)
    y = min(max(0, top + (tall - CROP) // 2), height - CROP)
    here = np.s_[y : y + CROP, x : x + CROP]
    return replace(
        field,
        stem=f"{field.stem}_cell",
        class_name=name,
        image=np.ascontiguousarray(read_image(field.image)[here]),
        mask=field.mask[here],
        kind="cell",
        place=Place(field.stem, x, y, 1),
        nucleus=field.nucleus[here],
    )
