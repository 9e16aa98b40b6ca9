"""What a converter hands over: one image with its labels, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL, NUM_CLASSES
from leuko_mm.datasets.places import Place
from leuko_mm.datasets.prepared import KINDS, is_plain_name


@dataclass(frozen=True)
class PreparedCell:
    """One image with its label array, ready to be written.

    Args:
        stem: unique name, also of the files written.
        class_name: a name or alias of ``leuko_mm.classes``; '' for a field.
        group: the unit that no split may divide, such as a slide.
        image: RGB uint8 array (H, W, 3), or a file that is copied as it is.
        mask: uint8 labels (H, W): class ids and 255 for pixels to ignore.
        kind: ``cell`` or ``field``.
        source: the published file that the image came from.
        place: where the cell lies in its field, a row of the same dataset.
        nucleus: bool (H, W), where the nucleus was drawn too; part of the cell.
    """

    stem: str
    class_name: str
    group: str
    image: np.ndarray | Path
    mask: np.ndarray
    kind: str = "cell"
    source: str = ""
    place: Place | None = None
    nucleus: np.ndarray | None = None


def check_cell(cell: PreparedCell) -> None:
    """Refuse what cannot be written; whether image and mask fit shows later.

    Raises:
        ValueError: naming the cell, what it holds and what was expected.
    """
    if not is_plain_name(cell.stem):
        raise ValueError(f"the stem {cell.stem!r} cannot be part of a file's name")
    if cell.kind not in KINDS:
        raise ValueError(f"{cell.stem}: kind {cell.kind!r}, expected one of {KINDS}")
    if cell.kind == "cell" and not (cell.class_name and cell.group):
        raise ValueError(
            f"{cell.stem}: class {cell.class_name!r}, group {cell.group!r}; a cell "
            "needs both, its group being the unit that no split may divide"
        )
    mask, image = cell.mask, cell.image
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(
            f"{cell.stem}: the mask must be (H, W) uint8, got {mask.shape} {mask.dtype}"
        )
    strange = np.setdiff1d(mask, [*range(NUM_CLASSES), IGNORE_LABEL]).tolist()
    if strange:
        raise ValueError(
            f"{cell.stem}: the mask holds {strange[:5]}; expected 0 to "
            f"{NUM_CLASSES - 1}, or {IGNORE_LABEL} to ignore"
        )
    if isinstance(image, np.ndarray) and (
        image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3
    ):
        raise ValueError(
            f"{cell.stem}: the image must be (H, W, 3) uint8 in RGB, got {image.shape} "
            f"{image.dtype}"
        )
    _check_nucleus(cell)


def _check_nucleus(cell: PreparedCell) -> None:
    nucleus, mask = cell.nucleus, cell.mask
    if nucleus is None:
        return
    if nucleus.dtype != bool or nucleus.shape != mask.shape:
        raise ValueError(
            f"{cell.stem}: the nucleus must be bool {mask.shape}, got "
            f"{nucleus.dtype} {nucleus.shape}"
        )
    outside = int((nucleus & (mask == BACKGROUND)).sum())
    if outside:
        raise ValueError(
            f"{cell.stem}: {outside} pixel(s) of the nucleus are background in the "
            "mask; the nucleus is part of the cell"
        )
