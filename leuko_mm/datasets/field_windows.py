"""Windows of whole fields, at the scale at which a network sees cells."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.mask_files import read_mask_file
from leuko_mm.datasets.mosaic_layout import Tile
from leuko_mm.datasets.prepared import DatasetError, read_index


class FieldWindows:
    """Draw squares from the fields of the slides that are trained on.

    What nobody has labelled keeps the label 255. Every window shows some pixel that
    somebody has.

    Args:
        root: a prepared dataset.
        groups: slides of which fields may be shown; the others' are not read.
        size: side of a window in pixels.
        cell_px: side that a prepared cell image has where the network sees it.

    Raises:
        DatasetError: if no field of these slides has a cell whose place is known.
    """

    def __init__(self, root: Path, groups: Collection[str], *, size: int, cell_px: int):
        self.root, self.size = Path(root), size
        rows = read_index(self.root)
        factor = {
            row.place.parent: row.place.scale * cell_px / row.width
            for row in rows
            if row.kind == "cell" and row.place is not None
        }
        self._fields = [
            (row, factor[row.stem])
            for row in rows
            if row.kind == "field" and row.group in groups and row.stem in factor
        ]
        if not self._fields:
            raise DatasetError(
                f"{self.root} has no field of the {len(groups)} slides trained on in "
                "which a cell is placed; add --cfg-options "
                "train_dataloader.dataset.fields=0, or prepare a dataset with fields"
            )
        self._read: dict[int, Tile] = {}

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def stems(self) -> list[str]:
        """Names of the fields."""
        return [row.stem for row, _ in self._fields]

    def field(self, number: int) -> Tile:
        """Return a field, BGR, and its labels, at the network's scale."""
        if number not in self._read:
            row, factor = self._fields[number]
            image = np.ascontiguousarray(read_image(self.root / row.image)[..., ::-1])
            labels = read_mask_file(self.root / row.mask).values.astype(np.uint8)
            shape = tuple(max(1, round(s * factor)) for s in (row.width, row.height))
            self._read[number] = (
                cv2.resize(image, shape, interpolation=cv2.INTER_AREA),
                cv2.resize(labels, shape, interpolation=cv2.INTER_NEAREST_EXACT),
            )
        return self._read[number]

    def window(self, rng: np.random.Generator) -> Tile:
        """Return a square of a field and its labels, around a labelled pixel.

        Shape:
            image (size, size, 3) uint8, labels (size, size) uint8.
        """
        image, labels = self.field(int(rng.integers(len(self))))
        lack = [max(0, self.size - side) for side in labels.shape]
        if any(lack):
            grown = ((0, lack[0]), (0, lack[1]))
            image = np.pad(image, (*grown, (0, 0)), mode="symmetric")
            labels = np.pad(labels, grown, constant_values=IGNORE_LABEL)
        rows, columns = np.nonzero(labels != IGNORE_LABEL)
        pick = int(rng.integers(len(rows))) if len(rows) else None
        middle = (rows[pick], columns[pick]) if pick is not None else (0, 0)
        y, x = (
            int(np.clip(at - rng.integers(self.size), 0, whole - self.size))
            for at, whole in zip(middle, labels.shape, strict=True)
        )
        here = np.s_[y : y + self.size, x : x + self.size]
        return image[here].copy(), labels[here].copy()


def as_binary(labels: np.ndarray) -> np.ndarray:
    """Return labels with every leukocyte as 1; 255 stays.

    Example:
        >>> as_binary(np.array([[0, 4, 255]], np.uint8)).tolist()
        [[0, 1, 255]]
    """
    cells = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    return np.where(cells, 1, labels).astype(np.uint8)
