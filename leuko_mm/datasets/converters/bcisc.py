"""Convert BCISC as published into a prepared dataset.

Expected tree (https://github.com/fpklipic/BCISC, Apache-2.0):

    BCISC/
        sub-images/
            images/<class>_<slide>-<field>_<cell>.jpg    256x256 RGB
            masks/<class>_<slide>-<field>_<cell>.png     grey, 0 and 255
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.datasets.splits import random_cells, random_mosaics, slide_folds

STEM = re.compile(r"^(?P<cls>[a-z]+)_(?P<slide>\d+)-(?P<field>\d+)_(?P<cell>\d+)$")
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
    """Write the 268 cells of BCISC with their official splits.

    The mask's 255 becomes the class id, which stands in the file name only. A group
    is one (class, slide): cells of one slide share stain, light and pixels.

    Args:
        source: the folder that holds ``sub-images``.
        out: the prepared dataset's folder.
        force: replace a dataset whose content differs.

    Returns:
        Whether anything was written.

    Raises:
        DatasetError: if images or masks are missing, or hold unexpected values.
    """
    images = _image_paths(Path(source))
    slides = {path.stem: bcisc_stem(path.stem)[1] for path in images}
    stems = list(slides)
    return write_prepared(
        out,
        _cells(images),
        name="bcisc",
        source="https://github.com/fpklipic/BCISC",
        licence="Apache-2.0",
        citation=CITATION,
        splits={
            **slide_folds(slides),
            "paper": random_cells(stems),
            "paper_mosaics": random_mosaics(stems),
        },
        force=force,
    )


def _image_paths(source: Path) -> list[Path]:
    folder = source / "sub-images" / "images"
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise DatasetError(
            f"no images in {folder}; give the folder of BCISC that holds sub-images/"
        )
    return paths


def _cells(images: list[Path]) -> Iterator[PreparedCell]:
    for path in images:
        name, slide = bcisc_stem(path.stem)
        mask_path = path.parent.parent / "masks" / f"{path.stem}.png"
        if not mask_path.is_file():
            raise DatasetError(f"{path.name} has no mask; expected {mask_path}")
        with Image.open(mask_path) as opened:
            grey = np.array(opened.convert("L"))
        values = np.unique(grey)
        if not set(values.tolist()) <= {0, 255}:
            raise DatasetError(
                f"{mask_path}: values {values.tolist()}; a BCISC mask holds 0 and 255"
            )
        yield PreparedCell(
            stem=path.stem,
            class_name=name,
            group=f"{name}_{slide}",
            image=path,
            mask=np.where(grey == 255, class_id(name), 0).astype(np.uint8),
            source=f"sub-images/images/{path.name}",
        )
