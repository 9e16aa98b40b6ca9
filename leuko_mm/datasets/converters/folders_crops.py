"""Cut single cells out of whole fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.converters.folders_annotation import Annotation, Box, box_of
from leuko_mm.datasets.prepared import DatasetError

# Smaller connected pieces of a mask are specks of the brush, not cells.
LEAST_PIXELS = 25


@dataclass(frozen=True)
class Crop:
    """A cell in its field: its label, and the window around it.

    Args:
        label: class id of the cell.
        box: the window, x0, y0, x1, y1 in field pixels.
        cut: whether the cell is larger than the window.
    """

    label: int
    box: Box
    cut: bool


def find_crops(
    annotation: Annotation, labels: np.ndarray, values: Mapping[str, int], size: int
) -> list[Crop]:
    """Return a window around every annotated cell, from the top to the bottom.

    Cells are the things that were drawn one by one, where the form of the annotation
    knows them; else the connected pieces of each class (8 neighbours) of at least
    ``LEAST_PIXELS``. A thing whose box lies in that of another one of its class, such
    as a nucleus, is a part of that. The window is moved to lie inside the field.

    Args:
        annotation: of the field.
        labels: uint8 (H, W) of the field.
        values: key -> label.
        size: of the square window, pixels.

    Raises:
        DatasetError: if the field is smaller than the window.
    """
    height, width = labels.shape
    if size > min(height, width):
        raise DatasetError(
            f"crops of {size} pixels do not fit into {width}x{height}; use a smaller "
            "--crop, or none where every image shows one cell"
        )
    if annotation.instances is None:
        cells = _pieces(labels)
    else:
        cells = [(values[key], box) for key, box in annotation.instances]
        cells = [cell for cell in cells if cell[0] not in (BACKGROUND, IGNORE_LABEL)]
    crops = []
    for label, box in sorted(_outermost(cells), key=lambda cell: cell[1][1::-1]):
        window = _window(box, size, height, width)
        x0, y0, x1, y1 = window
        # Wholly painted over by others, a cell is not there any more.
        if (labels[y0:y1, x0:x1] == label).any():
            cut = max(box[2] - box[0], box[3] - box[1]) > size
            crops.append(Crop(label, window, cut))
    return crops


def _pieces(labels: np.ndarray) -> list[tuple[int, Box]]:
    found = []
    for label in np.unique(labels).tolist():
        if label in (BACKGROUND, IGNORE_LABEL):
            continue
        number, pieces = cv2.connectedComponents((labels == label).astype(np.uint8))
        for piece in range(1, number):
            inside = pieces == piece
            if inside.sum() >= LEAST_PIXELS:
                found.append((label, box_of(inside)))
    return found


def _outermost(cells: list[tuple[int, Box]]) -> list[tuple[int, Box]]:
    kept: list[tuple[int, Box]] = []
    by_area = sorted(cells, key=lambda cell: _area(cell[1]), reverse=True)
    for label, box in by_area:
        if not any(label == own and _holds(outer, box) for own, outer in kept):
            kept.append((label, box))
    return kept


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and outer[2] >= inner[2]
        and outer[3] >= inner[3]
    )


def _window(box: Box, size: int, height: int, width: int) -> Box:
    x = min(max(0, (box[0] + box[2] - size) // 2), width - size)
    y = min(max(0, (box[1] + box[3] - size) // 2), height - size)
    return x, y, x + size, y + size
