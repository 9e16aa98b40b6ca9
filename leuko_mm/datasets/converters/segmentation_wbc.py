"""Convert segmentation_WBC as published: two sets of cells, nucleus and cytoplasm.

Expected tree (https://github.com/zxaoyou/segmentation_WBC, GPL-3.0):

    segmentation_WBC/
        Dataset 1/NNN.bmp, NNN.png        300 of about 120x120, 76 of other sizes
        Dataset 2/NNN.bmp, NNN.png        100 of 300x300
        Class Labels of Dataset 1.csv     image, class 1 to 5
        Class Labels of Dataset 2.csv

A mask holds 255 for the nucleus, 128 for the cytoplasm and 0 for the rest. Both are
merged to the cell, whose class is in the table; the nucleus is kept as a layer.
Images are kept pixel for pixel, as PNG. The two sets come from two laboratories:
stain, camera and magnification differ.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from leuko_mm.classes import class_id
from leuko_mm.datasets.converters.grey_masks import (
    cell_and_nucleus,
    picture_groups,
    picture_splits,
)
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

SETS = ("1", "2", "both")
PUBLISHED = {1: 300, 2: 100}
LEVELS = (0, 128, 255)
# The publishers' numbers, in their order.
_NAMES = "neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"
CLASSES = {str(number): name for number, name in enumerate(_NAMES, 1)}
HOME = "https://github.com/zxaoyou/segmentation_WBC"
CITATION = (
    "X. Zheng, Y. Wang, G. Wang, J. Liu, Fast and robust segmentation of white blood "
    "cell images by self-supervised learning, Micron 107, 55-71 (2018); acknowledge "
    "Jiangxi Tecom Science Corporation for set 1 and the CellaVision blog for set 2"
)
UNCHECKED = "the publishers warn that experts have not checked the class labels"
SECOND_SET = (
    "the publishers' table of set 2 has 33 neutrophils and 15 monocytes in its 100 "
    "images, where Zhu et al. (2023) print 30 and 18"
)


def prepare_segmentation_wbc(
    source: Path, out: Path, *, chosen: str = "both", force: bool = False
) -> bool:
    """Write one set of segmentation_WBC, or both as one dataset.

    Folds are stratified by class (and by set, where there are two). With both sets
    there are also ``set1_to_set2`` and ``set2_to_set1``: train on one laboratory,
    test on the other.

    Raises:
        DatasetError: if images, masks or classes are missing or do not fit.
        ValueError: if there is no such set.
    """
    if chosen not in SETS:
        raise ValueError(f"the set is {chosen!r}; expected one of {SETS}")
    sets = (1, 2) if chosen == "both" else (int(chosen),)
    notes = [UNCHECKED, *([SECOND_SET] if 2 in sets else [])]
    classes = {}  # of each image's path, in the order of the index
    for number in sets:
        classes |= _image_classes(Path(source), number, notes)
    stems = {_stem(path): path for path in classes}
    groups = picture_groups(stems, notes)
    strata = {stem: f"{stem[:4]} {classes[path]}" for stem, path in stems.items()}
    splits = picture_splits(groups, strata)
    if chosen == "both":
        for first, second in (("set1", "set2"), ("set2", "set1")):
            splits[f"{first}_to_{second}"] = {
                stem: "train" if stem.startswith(first) else "test" for stem in stems
            }
    return write_prepared(
        out,
        _cells(classes, groups, notes),
        name="segmentation_wbc" if chosen == "both" else f"segmentation_wbc_{chosen}",
        source=HOME,
        licence="GPL-3.0 (the publishers' repository)",
        citation=CITATION,
        splits=splits,
        notes=notes,
        force=force,
    )


def _image_classes(source: Path, number: int, notes: list[str]) -> dict[Path, str]:
    folder = source / f"Dataset {number}"
    images = sorted(folder.glob("*.bmp"))
    if not images:
        raise DatasetError(
            f"no images in {folder}; give the folder that holds 'Dataset 1' and "
            f"'Dataset 2' as published at {HOME}, or choose a set with --set"
        )
    if len(images) != PUBLISHED[number]:
        notes.append(
            f"set {number}: {len(images)} of the {PUBLISHED[number]} images that were "
            "published; folds of the others would differ"
        )
    unpaired = {path.stem for path in folder.glob("*.png")} ^ {p.stem for p in images}
    if unpaired:
        raise DatasetError(
            f"{folder}: {min(unpaired)} has an image or a mask but not both; get it "
            f"again from {HOME}"
        )
    table = source / f"Class Labels of Dataset {number}.csv"
    labels = _class_table(table)
    missing = [path for path in images if path.stem.lstrip("0") not in labels]
    if missing:
        raise DatasetError(f"{table} has no line for {missing[0].name}")
    return {path: labels[path.stem.lstrip("0")] for path in images}


def _class_table(path: Path) -> dict[str, str]:
    """Return number of the image -> class name."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(line)][1:]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); get it again from {HOME}"
        ) from None
    for line in lines:
        if len(line) < 2 or line[1].strip() not in CLASSES:
            raise DatasetError(
                f"{path}: {','.join(line)!r}; expected an image's number and a class "
                f"of 1 to {len(CLASSES)}"
            )
    return {line[0].strip().lstrip("0"): CLASSES[line[1].strip()] for line in lines}


def _stem(image: Path) -> str:
    return f"set{image.parent.name[-1]}_{image.stem}"


def _cells(
    classes: dict[Path, str], groups: dict[str, str], notes: list[str]
) -> Iterator[PreparedCell]:
    for image, name in classes.items():
        mask = image.with_suffix(".png")
        labels, nucleus = cell_and_nucleus(
            mask, class_id(name), LEVELS, notes, f"{image.parent.name}/{mask.name}"
        )
        yield PreparedCell(
            stem=_stem(image),
            class_name=name,
            group=groups[_stem(image)],
            image=read_image(image),
            mask=labels,
            source=f"{image.parent.name}/{image.name}",
            nucleus=nucleus,
        )
