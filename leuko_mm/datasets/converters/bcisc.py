"""Convert BCISC as published into a prepared dataset.

Expected tree (https://github.com/fpklipic/BCISC, Apache-2.0):

    BCISC/
        sub-images/
            images/<class>_<slide>-<field>_<cell>.jpg    256x256 RGB
            masks/<class>_<slide>-<field>_<cell>.png     grey, 0 and 255
        original-images/<class>/<slide>-<field>.jpg      2048x1536 RGB, as many whole
                                                         fields as there are

A cell shows 512x512 pixels of its field at half size. The PNG files beside some
fields are masks of single cells and are not read: the masks of all their cells say
more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import DatasetError, Place, field_labels
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.datasets.splits import (
    development_split,
    random_cells,
    random_mosaics,
    slide_folds,
)

HOME = "https://github.com/fpklipic/BCISC"
CITATION = (
    "H. Fan et al., LeukocyteMask: an automated localization and segmentation method "
    "for leukocyte in blood smear images using deep neural networks, "
    "J. Biophotonics 12(7), e201800488 (2019)"
)
CELLS = 268
CELL_NAME = re.compile(r"^(?P<cls>[a-z]+)_(?P<slide>\d+)-(?P<field>\d+)_(?P<cell>\d+)$")
FIELD_NAME = re.compile(r"^\d+-\d+\.jpe?g$")

# Field pixels per cell pixel; 1 in the one published field that is stored at half size.
SHRINKS = (2, 1)
MIN_MATCH = 0.99  # correlation from which on a cell is taken to be there


@dataclass(frozen=True)
class FieldOfCells:
    """A field's file with the places of the cells that were found in it."""

    stem: str
    path: Path
    places: dict[str, Place]


def prepare_bcisc(source: Path, out: Path, *, force: bool = False) -> bool:
    """Write the 268 cells of BCISC with their official splits, and its fields.

    The mask's 255 becomes the class id, which only the file name tells. A group is
    one (class, slide): cells of one slide share stain, light and pixels. Where the
    copy has whole fields, they become rows of kind ``field``, and their cells get a
    place.

    Raises:
        DatasetError: if the copy is incomplete, or a file does not fit.
    """
    source = Path(source)
    images = _image_paths(source)
    slides = {path.stem: bcisc_stem(path.stem)[1] for path in images}
    stems = list(slides)
    folds = slide_folds(slides)
    notes: list[str] = []
    fields = find_fields(source, {path.stem: path for path in images}, notes)
    return write_prepared(
        out,
        _rows(images, fields),
        name="bcisc",
        source=HOME,
        licence="Apache-2.0",
        citation=CITATION,
        splits={
            **folds,
            "development": development_split(folds),
            "paper": random_cells(stems),
            "paper_mosaics": random_mosaics(stems),
        },
        notes=notes,
        force=force,
    )


def _image_paths(source: Path) -> list[Path]:
    folder = source / "sub-images" / "images"
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise DatasetError(
            f"no images in {folder}; give the folder of BCISC that holds sub-images/, "
            f"as published at {HOME}"
        )
    # The official folds are those of the whole; of a part they would be others.
    if len(paths) != CELLS:
        masks = {path.stem for path in (source / "sub-images" / "masks").glob("*.png")}
        lost = sorted(masks - {path.stem for path in paths})
        hint = f" ({lost[0]}.png has a mask, but no image)" if lost else ""
        raise DatasetError(
            f"{folder} holds {len(paths)} images, but BCISC has {CELLS}{hint}; get it "
            f"again from {HOME}"
        )
    return paths


def bcisc_stem(stem: str) -> tuple[str, int]:
    """Return the class name and slide number in a BCISC file name."""
    match = CELL_NAME.match(stem)
    if not match:
        raise DatasetError(
            f"{stem!r} is not a BCISC name; expected <class>_<slide>-<field>_<cell>"
        )
    try:
        name = CLASS_NAMES[class_id(match["cls"])]
    except ValueError as error:
        raise DatasetError(f"{stem}: {error}") from None
    return name, int(match["slide"])


def _rows(images: list[Path], fields: list[FieldOfCells]) -> Iterator[PreparedCell]:
    places = {stem: place for one in fields for stem, place in one.places.items()}
    placed = {}
    for path in images:
        cell = _cell(path, places.get(path.stem))
        if cell.place:
            placed[cell.stem] = cell
        yield cell
    yield from field_rows(fields, placed)


def _cell(path: Path, place: Place | None) -> PreparedCell:
    name, slide = bcisc_stem(path.stem)
    mask_path = path.parent.parent / "masks" / f"{path.stem}.png"
    if not mask_path.is_file():
        raise DatasetError(f"{path.name} has no mask; expected {mask_path}")
    try:
        with Image.open(mask_path) as opened:
            grey = np.array(opened.convert("L"))
    except (OSError, SyntaxError) as error:
        raise DatasetError(
            f"{mask_path} cannot be read ({error}); get it again from {HOME}"
        ) from None
    values = np.unique(grey).tolist()
    if values != [0, 255]:
        raise DatasetError(
            f"{mask_path}: values {values[:8]}; a BCISC mask holds 0 and 255; get it "
            f"again from {HOME}"
        )
    return PreparedCell(
        stem=path.stem,
        class_name=name,
        group=f"{name}_{slide}",
        image=path,
        mask=np.where(grey == 255, class_id(name), 0).astype(np.uint8),
        source=f"sub-images/images/{path.name}",
        place=place,
    )


def field_rows(
    fields: list[FieldOfCells], cells: Mapping[str, PreparedCell]
) -> Iterator[PreparedCell]:
    """Yield the fields as rows, each labelled by its cells, of their group."""
    for one in fields:
        placed = [(cells[cell].mask, place) for cell, place in one.places.items()]
        with Image.open(one.path) as opened:
            width, height = opened.size
        yield PreparedCell(
            stem=one.stem,
            class_name="",
            group=cells[next(iter(one.places))].group,
            image=one.path,
            mask=field_labels((height, width), placed),
            kind="field",
            source=f"original-images/{one.path.parent.name}/{one.path.name}",
        )


def find_fields(
    source: Path, cells: Mapping[str, Path], notes: list[str]
) -> list[FieldOfCells]:
    """Return the fields that a copy of BCISC has, with their cells placed.

    ``cells`` is stem -> image; ``notes`` takes what a user must know.
    """
    found, matches = [], []
    for path in sorted((source / "original-images").glob("*/*")):
        if not FIELD_NAME.match(path.name.lower()):
            continue
        stem = f"{path.parent.name}_{path.stem}"
        own = {cell: p for cell, p in cells.items() if cell.rpartition("_")[0] == stem}
        picture = read_image(path) if own else None
        places = {}
        for cell, image in own.items():
            place, match = _place(stem, picture, read_image(image))
            if place is None:
                notes.append(
                    f"{cell} was not found in {path.name} (best match {match:.3f}, "
                    f"expected {MIN_MATCH} or more), so its place is empty"
                )
                continue
            places[cell] = place
            matches.append(match)
        if places:
            found.append(FieldOfCells(stem, path, places))
    if matches:
        notes.append(
            f"{len(found)} whole fields with {len(matches)} of the cells placed in "
            f"them, match {min(matches):.4f} to {max(matches):.4f}; what no cell's "
            "image shows is labelled 255 (ignore) there"
        )
    else:
        notes.append(
            "no whole field of these cells in original-images/, so their places are "
            "empty; training and testing on cells do not need them"
        )
    return found


def _place(
    stem: str, picture: np.ndarray, crop: np.ndarray
) -> tuple[Place | None, float]:
    best = 0.0
    for shrink in SHRINKS:
        x, y, match = locate_crop(picture, crop, shrink=shrink)
        if match >= MIN_MATCH:
            return Place(stem, x, y, 1 / shrink), match
        best = max(best, match)
    return None, best


def locate_crop(
    picture: np.ndarray, crop: np.ndarray, *, shrink: int = 2
) -> tuple[int, int, float]:
    """Find the part of a field that a crop shows.

    Every position is compared at the crop's own scale; each pixel of the crop is the
    mean of ``shrink`` x ``shrink`` of the field's.

    Shape:
        RGB uint8 (H, W, 3), (h, w, 3) -> x, y of the crop's corner in field pixels,
        and the normalised correlation of the colours there; 0 where there is nothing
        to compare.
    """
    best = (0, 0, 0.0)
    if crop.std() < 1:
        return best
    for down in range(shrink):
        for right in range(shrink):
            shifted = picture[down:, right:]
            height, width = (side // shrink for side in shifted.shape[:2])
            if height < crop.shape[0] or width < crop.shape[1]:
                continue
            shrunk = cv2.resize(
                shifted[: height * shrink, : width * shrink],
                (width, height),
                interpolation=cv2.INTER_AREA,
            )
            scores = cv2.matchTemplate(shrunk, crop, cv2.TM_CCOEFF_NORMED)
            _, match, _, (x, y) = cv2.minMaxLoc(scores)
            if match > best[2]:
                best = (right + shrink * x, down + shrink * y, float(match))
    return best
