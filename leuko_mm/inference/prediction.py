"""What a prediction is: the cells of an image, its label map, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from leuko_mm.classes import BACKGROUND

# People are told of a scale that is less sure than this.
UNSURE = 0.3


@dataclass(frozen=True)
class ImageScale:
    """How an image was brought to the scale that a checkpoint was trained at.

    Args:
        factor: network pixels per pixel of the image; 0.25 shrinks it to a quarter.
        how: ``factor``, ``um_per_px``, ``red cells`` or ``assumed``.
        confidence: 0 to 1; 1 where the user said it, 0 where it is only assumed.
        red_cell_px: diameter of a red cell in pixels of the image, None if unknown.
        red_cells: how many red cells were measured.
        note: one sentence for people.
    """

    factor: float
    how: str
    confidence: float
    red_cell_px: float | None = None
    red_cells: int = 0
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One leukocyte of an image.

    All lengths are in pixels of the image as it was given.

    Args:
        id: its number in ``Prediction.instances``, from 1 on, row by row.
        class_id: index into ``Prediction.classes``.
        confidence: probability of that class, given that it is a cell.
        probabilities: the same for every class, by id; 0 for the background, sum 1.
        background: mean probability that the network gave to "no cell" inside it.
        area: pixels.
        centroid: x, y of its middle, from the upper left corner of the image: the
            middle of the first pixel is (0.5, 0.5).
        box: x0, y0, x1, y1, ends excluded.
        touches_border: whether the image may have cut it.
        eccentricity: of the ellipse with the same second moments, 0 (circle) to 1.
        solidity: area over that of the convex hull, 0 to 1.
        circularity: 4 pi area / perimeter^2, 1 for a circle.
    """

    id: int
    class_id: int
    confidence: float
    probabilities: tuple[float, ...]
    background: float
    area: int
    centroid: tuple[float, float]
    box: tuple[int, int, int, int]
    touches_border: bool
    eccentricity: float
    solidity: float
    circularity: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one image.

    Args:
        labels: class ids; every pixel of a cell has the cell's class.
        instances: ids of cells, 0 where none is.
        cells: by id, from 1 on without gaps.
        classes: names by class id.
        colours: RGB by class id.
        scale: what was used, how it was found, how sure it is.
        probabilities: of every class at every pixel, only if asked for.
        source: the file, if there was one.

    Shape:
        labels (H, W) uint8; instances (H, W) int32; probabilities (C, H, W) float16.
    """

    labels: np.ndarray
    instances: np.ndarray
    cells: tuple[Cell, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    scale: ImageScale
    probabilities: np.ndarray | None = None
    source: Path | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """Cells of each class by name, in the order of the classes, 0 included."""
        counts = {name: 0 for i, name in enumerate(self.classes) if i != BACKGROUND}
        for cell in self.cells:
            counts[self.classes[cell.class_id]] += 1
        return MappingProxyType(counts)
