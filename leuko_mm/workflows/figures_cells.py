"""The cells and mosaics that the figures show, each as taken and enhanced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.classes import CELL_CLASSES
from leuko_mm.datasets.leukocyte_dataset import (
    LeukocyteDataset,
    build_pipeline,
    with_enhancement,
)
from leuko_mm.datasets.mosaic_layout import lay_grid
from leuko_mm.datasets.sampling import compose_every
from leuko_mm.datasets.tile_store import TileStore
from leuko_mm.workflows.browse_sheets import as_rgb

SIDE = 512  # px of a mosaic, as in the paper
FILL = 230
RETINEX = dict(type="leuko_mm.AHERetinex", reading="hsv")
LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))

Cells = tuple[int | None, ...]


@dataclass(frozen=True)
class Composed:
    """Which cells a mosaic holds: numbers in the stock, None for a spare tile."""

    cells: Cells
    n: int


class CellStock:
    """Cells of a part, from which mosaics are laid as training and testing lay them.

    Args:
        name: a prepared dataset.
        split, part: which cells; no split: all.
    """

    def __init__(self, name: str, split: str | None, part: str = "test"):
        self.split = split
        self.cells = LeukocyteDataset(name, split=split, part=part, test_mode=True)
        self.root = Path(self.cells.root)
        self.infos = [self.cells.get_data_info(i) for i in range(len(self.cells))]
        self._stores: dict[str, TileStore] = {}

    def _store(self, enhance: Mapping | None) -> TileStore:
        key = json.dumps(enhance, sort_keys=True)
        if key not in self._stores:
            steps = build_pipeline(with_enhancement(LOADING, enhance))
            self._stores[key] = TileStore(self.cells, steps)
        return self._stores[key]

    def mosaic(
        self,
        composed: Composed,
        *,
        size: int | None = None,
        enhance: Mapping | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return image RGB (size, size, 3) and labels (size, size) of a mosaic.

        Args:
            composed: which cells.
            size: in pixels; None: that of the figures.
            enhance: config of a transform of each tile; None leaves them as taken.
        """
        tile_of = self._store(enhance).tile
        how = dict(n=composed.n, size=size or SIDE, fill=FILL)
        laid = lay_grid(composed.cells, tile_of, **how)
        return as_rgb(laid.image), laid.labels

    def cell(
        self, number: int, enhance: Mapping | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a cell's image RGB and labels (256 px a side)."""
        image, labels = self._store(enhance).tile(number, SIDE // 2, SIDE // 2)
        return as_rgb(image), labels

    def dealt(self, n: int, *, seed: int) -> list[Composed]:
        """Return mosaics that show every cell once, in a random order."""
        dealt = compose_every(len(self.infos), n * n, seed=seed)
        return [Composed(tuple(cells), n) for cells in dealt]

    def of_one_class(self, n: int) -> Composed:
        """Return a mosaic of the class that has most cells, groups mixed."""
        groups = self.by_class()
        numbers = max(groups.values(), key=len)[: n * n]
        return Composed((*numbers, *[None] * (n * n - len(numbers))), n)

    def by_class(self) -> dict[str, list[int]]:
        """Return the cells of each class, one of every group before the second."""
        found: dict[str, list[int]] = {}
        for kind in [c.name for c in CELL_CLASSES]:
            turns: dict[str, int] = {}
            order = []
            for number, info in enumerate(self.infos):
                if info["class_name"] == kind:
                    turn = turns[info["group"]] = turns.get(info["group"], 0) + 1
                    order.append((turn, number))
            if order:
                found[kind] = [number for _, number in sorted(order)]
        return found

    def stems(self, shown: Sequence[Composed]) -> set[str]:
        """Return the names of all cells in mosaics."""
        numbers = {c for composed in shown for c in composed.cells if c is not None}
        return {self.infos[number]["stem"] for number in numbers}
