"""Convert cells that are sorted by class but have no masks: a model draws the outlines.

Expected tree of PBC (https://doi.org/10.17632/snkd93bnjr.1, CC BY 4.0):

    PBC_dataset_normal_DIB/
        basophil/BA_*.jpg        about 360x363 RGB, one cell in the middle
        neutrophil/BNE_*.jpg, SNE_*.jpg, NEUTROPHIL_*.jpg
        ...                      eight folders, see ``PBC``

The class is the name of the folder. What is none of the five classes becomes ``other``,
with 255 for its pixels. Pictures are kept byte for byte.

The outliner is handed in, so that no model is imported here. Of each picture the cell
in the middle is taken, and it is left out where it fails a check of place, size,
overlap or shape. Other cells in the picture are 255.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, OTHER, class_id
from leuko_mm.datasets.converters.grey_masks import picture_groups, picture_splits
from leuko_mm.datasets.images import image_facts, read_image
from leuko_mm.datasets.layouts import MIDDLE, number_in_middle
from leuko_mm.datasets.prepared import BY_MODEL, DatasetError
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared

# Folder -> what the names of its files begin with.
PBC = {
    "basophil": ("BA",),
    "eosinophil": ("EO",),
    "erythroblast": ("ERB",),
    "ig": ("IG", "MMY", "MY", "PMY"),
    "lymphocyte": ("LY",),
    "monocyte": ("MO",),
    "neutrophil": ("BNE", "SNE", "NEUTROPHIL"),
    "platelet": ("PLATELET",),
}
PBC_PUBLISHED = 17_092
PBC_SCALE = 256 / 360  # pixels of a cell of BCISC per pixel of a picture
PBC_HOME = "https://doi.org/10.17632/snkd93bnjr.1"
PBC_CITATION = (
    "A. Acevedo, A. Merino, S. Alferez, A. Molina, L. Boldu, J. Rodellar, A dataset of "
    "microscopic peripheral blood cell images for development of automatic recognition "
    "systems, Data in Brief 30, 105474 (2020)"
)

SIZES = (0.4, 2.5)  # area over the median of the same folder
# Pixels at the picture's border, or beside another cell, per diameter of the cell.
MOST_BORDER, MOST_CONTACT = 0.25, 0.5
LEAST_SOLID = 0.75  # area over that of the convex hull
NO_CELL = "no cell in the middle"
FAULTS = {
    NO_CELL: f"within {MIDDLE:g} of the shorter side",
    "cut off": f"more than {MOST_BORDER:g} of its diameter at the picture's border",
    "overlaps a second cell": f"along more than {MOST_CONTACT:g} of its diameter",
    "ragged": f"fills less than {LEAST_SOLID:g} of its convex hull",
    "impossible size": f"not {SIZES[0]:g} to {SIZES[1]:g} of its kind's median area",
}
_, CUT, OVERLAP, RAGGED, SIZE = FAULTS


@dataclass(frozen=True)
class Outliner:
    """What draws the cells of a picture.

    Args:
        find: from RGB uint8 (H, W, 3) to (H, W), the number of the cell that a pixel
            belongs to, 0 for none.
        model: its name, sha256 and scale, for ``dataset.json``.
        progress: is called with how many pictures are outlined, and of how many.
        note: how the scale was measured, if it was.
    """

    find: Callable[[np.ndarray], np.ndarray]
    model: Mapping
    progress: Callable[[int, int], object] = lambda done, total: None
    note: str = ""


@dataclass(frozen=True)
class SortedCell:
    """A picture of one cell whose class is known, but not its outline."""

    stem: str
    path: Path
    kind: str  # the folder's name
    class_name: str  # one of the five, or ``other``
    source: str


def prepare_pbc(
    source: Path, out: Path, outliner: Outliner, *, force: bool = False
) -> bool:
    """Write the cells of PBC, outlined by a model.

    Args:
        source: the folder that holds ``basophil/`` and the others.
        outliner: draws the cells of each picture.
        out, force: see ``leuko_mm.datasets.converters``.

    Raises:
        DatasetError: if pictures are missing, named otherwise, or cannot be read.
    """
    cells = _pbc_cells(Path(source))
    notes = []
    if len(cells) != PBC_PUBLISHED:
        notes.append(f"{len(cells)} of the {PBC_PUBLISHED} published pictures")
    return prepare_sorted(
        cells,
        out,
        outliner,
        grouped=partial(picture_groups, notes=notes, thorough=True),
        dealt=picture_splits,
        notes=notes,
        force=force,
        name="pbc",
        source=PBC_HOME,
        licence="CC BY 4.0",
        citation=PBC_CITATION,
    )


def _pbc_cells(source: Path) -> list[SortedCell]:
    cells = []
    for folder, prefixes in PBC.items():
        there = sorted((source / folder).glob("*.jpg"))
        paths = [path for path in there if not path.name.startswith(".")]
        if not paths and folder in CLASS_NAMES:
            raise DatasetError(
                f"no pictures in {source / folder}; give the folder that holds "
                f"{', '.join(PBC)} as published at {PBC_HOME}"
            )
        for path in paths:
            if path.name.partition("_")[0] not in prefixes:
                begins = " or ".join(f"{prefix}_" for prefix in prefixes)
                raise DatasetError(
                    f"{path}: expected a name that begins with {begins}; is it in the "
                    "wrong folder?"
                )
            name = folder if folder in CLASS_NAMES else OTHER
            source_name = f"{folder}/{path.name}"
            cells.append(SortedCell(path.stem, path, folder, name, source_name))
    return cells


def prepare_sorted(
    cells: Sequence[SortedCell],
    out: Path,
    outliner: Outliner,
    *,
    grouped: Callable[[Mapping[str, Path]], Mapping[str, str]],
    dealt: Callable[[Mapping[str, str], Mapping[str, str]], Mapping],
    notes: list[str],
    **about,
) -> bool:
    """Write cells that are sorted by class, those whose outline passes the check.

    Args:
        grouped: from {stem: picture} to the groups.
        dealt: from groups and {stem: kind} to the splits.
        notes: take sentences for ``dataset.json``.
        about: for ``write_prepared``.
    """
    splits: dict = {}
    model = dict(outliner.model)
    notes.append(
        f"no people drew the outlines but {model.get('model', 'a model')}; other cells "
        f"in a picture, and all cells of class {OTHER}, are {IGNORE_LABEL}"
    )

    def written() -> Iterator[PreparedCell]:
        outlines, faults = draw_outlines(cells, outliner)
        model["left_out"] = {
            cell.source: faults[cell.stem] for cell in cells if cell.stem in faults
        }
        for fault, count in Counter(faults.values()).items():
            notes.append(f"{count} left out, {fault}: {FAULTS[fault]}")
        kept = [cell for cell in cells if cell.stem in outlines]
        if not kept:
            usual = Counter(faults.values()).most_common(1)[0][0]
            raise DatasetError(
                f"none of the {len(cells)} pictures passes the check (most: {usual}); "
                "expected one stained leukocyte in the middle, at the right scale"
            )
        groups = grouped({cell.stem: cell.path for cell in kept})
        splits.update(dealt(groups, {cell.stem: cell.kind for cell in kept}))
        for cell in kept:
            yield _prepared(cell, outlines[cell.stem], groups[cell.stem])

    return write_prepared(
        out,
        written(),
        splits=splits,
        notes=notes,
        outlined_by=model,
        **about,
    )


def _prepared(cell: SortedCell, outline: np.ndarray, group: str) -> PreparedCell:
    labels = cv2.imdecode(outline, cv2.IMREAD_GRAYSCALE)
    own = IGNORE_LABEL if cell.class_name == OTHER else class_id(cell.class_name)
    return PreparedCell(
        stem=cell.stem,
        class_name=cell.class_name,
        group=group,
        image=cell.path if image_facts(cell.path).plain else read_image(cell.path),
        mask=np.where(labels == 1, own, labels).astype(np.uint8),
        source=cell.source,
        outline=BY_MODEL,
    )


def draw_outlines(
    cells: Sequence[SortedCell], outliner: Outliner
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Outline the cell in the middle of each picture, and check it.

    Returns:
        By stem: labels (H, W), 1 for the cell and 255 for others, as a PNG in memory;
        and by stem, which of ``FAULTS`` a cell has.
    """
    # A broken picture is named before the outlines of all others are drawn.
    for cell in cells:
        read_image(cell.path)
    outlines, faults = {}, {}
    areas: dict[str, dict[str, int]] = defaultdict(dict)
    for number, cell in enumerate(cells):
        outliner.progress(number, len(cells))
        labels = middle_cell(outliner.find(read_image(cell.path)))
        if fault := outline_fault(labels):
            faults[cell.stem] = fault
        if fault != NO_CELL:
            areas[cell.kind][cell.stem] = int((labels == 1).sum())
        outlines[cell.stem] = cv2.imencode(".png", labels)[1]
    for of_kind in areas.values():
        usual = np.median(list(of_kind.values()))
        for stem, area in of_kind.items():
            if not SIZES[0] <= area / usual <= SIZES[1]:
                faults.setdefault(stem, SIZE)
    return {s: outline for s, outline in outlines.items() if s not in faults}, faults


def middle_cell(instances: np.ndarray) -> np.ndarray:
    """Return labels of the cell in the middle, 1, and of all other cells, 255.

    Shape:
        (H, W), numbers of cells -> (H, W) uint8.
    """
    labels = np.where(instances > 0, IGNORE_LABEL, BACKGROUND).astype(np.uint8)
    if number := number_in_middle(instances):
        labels[instances == number] = 1
    return labels


def outline_fault(labels: np.ndarray) -> str | None:
    """Return which of ``FAULTS`` the cell labelled 1 has by itself, or None."""
    cell = (labels == 1).astype(np.uint8)
    if not cell.any():
        return NO_CELL
    diameter = 2 * np.sqrt(cell.sum() / np.pi)
    edges = cell[0].sum() + cell[-1].sum() + cell[:, 0].sum() + cell[:, -1].sum()
    if edges > MOST_BORDER * diameter:
        return CUT
    beside = cv2.dilate(cell, np.ones((3, 3), np.uint8)) & (labels == IGNORE_LABEL)
    if beside.sum() > MOST_CONTACT * diameter:
        return OVERLAP
    found = cv2.findContours(cell, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.fillConvexPoly(
        np.zeros_like(cell), cv2.convexHull(np.concatenate(found[0])), 1
    )
    return RAGGED if cell.sum() < LEAST_SOLID * hull.sum() else None
