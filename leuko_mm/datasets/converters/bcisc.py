"""Convert BCISC as published into a prepared dataset.

Expected tree (https://github.com/fpklipic/BCISC, Apache-2.0):

    BCISC/
        sub-images/
            images/<class>_<slide>-<field>_<cell>.jpg    256x256 RGB
            masks/<class>_<slide>-<field>_<cell>.png     grey, 0 and 255
        original-images/                                 whole fields, as many as
                                                         there are (bcisc_fields)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.converters.bcisc_fields import (
    FieldOfCells,
    field_rows,
    find_fields,
)
from leuko_mm.datasets.places import Place
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.prepared_cell import PreparedCell
from leuko_mm.datasets.prepared_writing import write_prepared
from leuko_mm.datasets.splits import (
    development_split,
    random_cells,
    random_mosaics,
    slide_folds,
)

STEM = re.compile(r"^(?P<cls>[a-z]+)_(?P<slide>\d+)-(?P<field>\d+)_(?P<cell>\d+)$")
CELLS = 268
HOME = "https://github.com/fpklipic/BCISC"
CITATION = (
    "H. Fan et al., LeukocyteMask: an automated localization and segmentation method "
    "for leukocyte in blood smear images using deep neural networks, "
    "J. Biophotonics 12(7), e201800488 (2019)"
)


def bcisc_stem(stem: str) -> tuple[str, int]:
    """Return the class name and slide number in a BCISC file name.

    Raises:
        DatasetError: if the name does not follow BCISC's pattern.

    Example:
        >>> bcisc_stem("eosi_10-3_2")
        ('eosinophil', 10)
    """
    match = STEM.match(stem)
    if not match:
        raise DatasetError(
            f"{stem!r} is not a BCISC name; expected <class>_<slide>-<field>_<cell>"
        )
    try:
        name = CLASS_NAMES[class_id(match["cls"])]
    except ValueError as error:
        raise DatasetError(f"{stem}: {error}") from None
    return name, int(match["slide"])


def prepare_bcisc(source: Path, out: Path, *, force: bool = False) -> bool:
    """Write the 268 cells of BCISC with their official splits, and its fields.

    The mask's 255 becomes the class id, which stands in the file name only. A group
    is one (class, slide): cells of one slide share stain, light and pixels. Where the
    copy has whole fields, they become rows of kind ``field``, and their cells get a
    place.

    Args:
        source: the folder that holds ``sub-images``.
        out: the prepared dataset's folder.
        force: replace a dataset whose content differs.

    Returns:
        Whether anything was written.

    Raises:
        DatasetError: if images or masks are missing, cannot be read, or hold
            unexpected values.
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


def _rows(images: list[Path], fields: list[FieldOfCells]) -> Iterator[PreparedCell]:
    """Yield the cells and then the fields, so that the order of the cells is fixed."""
    places = {stem: place for one in fields for stem, place in one.places.items()}
    placed = {}
    for cell in _cells(images, places):
        if cell.place:
            placed[cell.stem] = cell
        yield cell
    yield from field_rows(fields, placed)


def _cells(images: list[Path], places: Mapping[str, Place]) -> Iterator[PreparedCell]:
    for path in images:
        name, slide = bcisc_stem(path.stem)
        mask_path = path.parent.parent / "masks" / f"{path.stem}.png"
        if not mask_path.is_file():
            raise DatasetError(f"{path.name} has no mask; expected {mask_path}")
        grey = _grey(mask_path)
        values = np.unique(grey).tolist()
        if values != [0, 255]:
            raise DatasetError(
                f"{mask_path}: values {values[:8]}; a BCISC mask holds 0 and 255; get "
                f"it again from {HOME}"
            )
        yield PreparedCell(
            stem=path.stem,
            class_name=name,
            group=f"{name}_{slide}",
            image=path,
            mask=np.where(grey == 255, class_id(name), 0).astype(np.uint8),
            source=f"sub-images/images/{path.name}",
            place=places.get(path.stem),
        )


def _grey(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as opened:
            return np.array(opened.convert("L"))
    except (OSError, SyntaxError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); get it again from {HOME}"
        ) from None
