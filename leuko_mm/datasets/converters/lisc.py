"""Convert LISC as its publishers ship it: whole pictures around single leukocytes.

Expected tree (its terms forbid copies; get it from its publishers):

    LISC Database/
        Main Dataset/<class>/N.bmp                                   720x576 RGB
        Ground Truth Segmentation/<class>/areaforexpert1/N_expert.bmp    712x568 grey
        Ground Truth Segmentation/<class>/areaforexpert2/...         if there is one

The classes are ``Baso eosi lymp mono neut``. A mask is the picture without 4 pixels
on each side, and its grey levels tell cytoplasm and nucleus, another pair a class.
Pictures are kept pixel for pixel, as PNG.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL, class_id
from leuko_mm.datasets.converters.grey_masks import (
    cell_and_nucleus,
    picture_groups,
    picture_splits,
)
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

PUBLISHED = 242
BORDER = 4  # pixels of the picture on each side that its mask leaves out
# Background, cytoplasm, nucleus; the basophil's nucleus was not drawn apart.
LEVELS = {
    "basophil": (0, 50),
    "eosinophil": (0, 75, 100),
    "lymphocyte": (0, 125, 150),
    "monocyte": (0, 175, 200),
    "neutrophil": (0, 225, 255),
}
IMAGE = re.compile(r"^\d+$")
MASK = re.compile(r"^(?P<number>\d+)_expert\d*$")
EXPERT = re.compile(r"^areaforexpert(?P<expert>\d+)$")
HOME = "http://users.cecs.anu.edu.au/~hrezatofighi/Data/Leukocyte%20Data.htm"
CITATION = (
    "S. H. Rezatofighi, H. Soltanian-Zadeh, Automatic recognition of five types of "
    "white blood cells in peripheral blood, Comput. Med. Imaging Graph. 35(4), "
    "333-343 (2011)"
)
WIDE = (
    "a picture is wider than a single cell, so a cell fills less of it than in other "
    f"datasets; the outermost {BORDER} pixels are 255 (ignore), as no expert saw them"
)


@dataclass(frozen=True)
class _Picture:
    class_name: str
    image: Path
    mask: Path

    @property
    def stem(self) -> str:
        return f"{self.class_name[:4]}_{int(self.image.stem)}"


def prepare_lisc(
    source: Path, out: Path, *, expert: int = 1, force: bool = False
) -> bool:
    """Write the pictures of LISC that show leukocytes of one class.

    Pictures of several classes (``mixt``) and pictures without a mask are left out.

    Args:
        source: the folder of LISC, at any depth above its classes.
        expert: whose masks, 1 or 2 where there are two.
        out, force: see ``leuko_mm.datasets.converters``.

    Raises:
        DatasetError: if pictures or masks are missing or do not fit.
    """
    source = Path(source)
    pictures, without_mask = _pictures(source, expert)
    notes = [WIDE]
    if without_mask:
        notes.append(
            f"{without_mask} picture(s) without a mask of expert {expert} left out"
        )
    if len(pictures) != PUBLISHED:
        notes.append(
            f"{len(pictures)} pictures with a mask, where {PUBLISHED} were published; "
            "folds of the others would differ"
        )
    classes = {one.stem: one.class_name for one in pictures}
    groups = picture_groups({one.stem: one.image for one in pictures}, notes)
    return write_prepared(
        out,
        _cells(source, pictures, groups, notes),
        name="lisc",
        source=HOME,
        licence="research and education only, no redistribution",
        citation=CITATION,
        splits=picture_splits(groups, classes),
        notes=notes,
        force=force,
    )


def _pictures(source: Path, expert: int) -> tuple[list[_Picture], int]:
    images, masks, experts = {}, {}, set()
    for path in sorted(source.rglob("*.bmp")):
        name = _class_of(path.relative_to(source))
        mask = MASK.match(path.stem)
        if name and mask:
            drawn_by = _expert_of(path.relative_to(source))
            experts.add(drawn_by)
            if drawn_by == expert:
                masks[name, int(mask["number"])] = path
        elif name and IMAGE.match(path.stem):
            images[name, int(path.stem)] = path
    if not images:
        raise DatasetError(
            f"no pictures in {source}; expected folders such as Baso/ with 1.bmp, as "
            f"published at {HOME}"
        )
    if not masks:
        others = ", ".join(map(str, sorted(experts))) or "no expert at all"
        raise DatasetError(
            f"no masks of expert {expert} in {source}, but of {others}; expected "
            f"<class>/areaforexpert{expert}/1_expert.bmp"
        )
    orphans = sorted(masks.keys() - images.keys())
    if orphans:
        raise DatasetError(
            f"{masks[orphans[0]]} has no picture; get it again from {HOME}"
        )
    order = sorted(masks, key=lambda key: (class_id(key[0]), key[1]))
    found = [_Picture(key[0], images[key], masks[key]) for key in order]
    return found, len(images) - len(found)


def _class_of(path: Path) -> str | None:
    for folder in reversed(path.parent.parts):
        try:
            return CLASS_NAMES[class_id(folder)]
        except ValueError:
            continue
    return None


def _expert_of(path: Path) -> int:
    """Return the expert that a folder above the file names; 1 if none does."""
    found = [match for part in path.parts if (match := EXPERT.match(part.lower()))]
    return int(found[0]["expert"]) if found else 1


def _cells(
    source: Path, pictures: list[_Picture], groups: dict[str, str], notes: list[str]
) -> Iterator[PreparedCell]:
    for one in pictures:
        name = one.class_name
        mask_name = one.mask.relative_to(source).as_posix()
        labels, nucleus = cell_and_nucleus(
            one.mask, class_id(name), LEVELS[name], notes, mask_name
        )
        picture = read_image(one.image)
        shape = picture.shape[:2]
        if nucleus is not None:
            nucleus = _with_border(one, nucleus, shape, False)
        yield PreparedCell(
            stem=one.stem,
            class_name=name,
            group=groups[one.stem],
            image=picture,
            mask=_with_border(one, labels, shape, IGNORE_LABEL),
            source=one.image.relative_to(source).as_posix(),
            nucleus=nucleus,
        )


def _with_border(
    one: _Picture, layer: np.ndarray, shape: tuple, border: int
) -> np.ndarray:
    if layer.shape == shape:
        return layer
    padded = np.pad(layer, BORDER, constant_values=border)
    if padded.shape != shape:
        raise DatasetError(
            f"{one.mask}: {layer.shape[1]}x{layer.shape[0]}, but its picture is "
            f"{shape[1]}x{shape[0]}; expected {BORDER} pixels less on each side"
        )
    return padded
