"""n x n mosaics of single cells: the images that the paper trains and tests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.leukocyte_dataset import Step, build_pipeline, with_enhancement
from leuko_mm.datasets.sampling import (
    compose_every,
    compose_fixed,
    compose_one,
    sample_randomness,
)
from leuko_mm.datasets.splits import split_mosaics
from leuko_mm.datasets.tile_store import TileStore
from leuko_mm.registry import DATASETS, SCOPE

MODES = ("fixed", "resample", "every")
SPLIT_STAGES = ("cells", "mosaics")
MOSAIC_SPLIT = "paper_mosaics"


def tile_edges(size: int, n: int) -> list[int]:
    """Return the n + 1 edges of the tiles along one side, round(i * size / n).

    Example:
        >>> tile_edges(512, 3)
        [0, 171, 341, 512]
    """
    return [round(i * size / n) for i in range(n + 1)]


@DATASETS.register_module()
class MosaicDataset(Dataset):
    """Compose cells of a dataset into n x n mosaics.

    Modes: ``fixed`` deals the cells into ``mosaics`` images once, without replacement
    until all are used; ``resample`` draws each mosaic afresh, given by (seed, global
    index); ``every`` shows every cell exactly once and is the one for testing: tiles
    left over in its last mosaic stay background.

    Tiles go through ``tile_pipeline`` (loading and enhancement: the same for a cell
    every time, so it is kept in memory), are resized to their place, go through
    ``tile_augmentation`` one by one, and the mosaic through ``pipeline``. Each sample
    carries ``tiles``, a list of ``{stem, group, class_name, box}`` with box
    (x0, y0, x1, y1) in mosaic pixels, and ``spare_tiles``, the boxes without a cell.

    Args:
        dataset: config of a ``LeukocyteDataset``; its own pipeline is not used.
        n: tiles along a side.
        size: side s of the mosaic in pixels.
        mode: ``fixed``, ``resample`` or ``every``.
        mosaics: how many (``every`` needs none).
        split_stage: ``cells`` takes the part's cells and composes them; ``mosaics``
            composes all cells first and then takes the part's share of mosaics, as the
            paper did.
        split_seed: of composition and division with ``split_stage='mosaics'``, so that
            every training seed meets the same test mosaics.
        test_fraction: share of the mosaics tested, with ``split_stage='mosaics'``.
        enhance: a transform's config, inserted behind the loading of each tile.
        tile_pipeline, tile_augmentation, pipeline: transforms or configs, see above.
        fill: grey level of spare tiles, 0-255.
        seed: of composition and augmentation.
        test_mode: as in MMSegmentation: the sample's index is not a global one.

    Raises:
        ValueError: if a number or name does not fit, or a mosaic has more tiles than
            there are cells.
        DatasetError: as ``LeukocyteDataset``.
    """

    def __init__(
        self,
        dataset: Mapping,
        *,
        n: int = 2,
        size: int = 512,
        mode: str = "fixed",
        mosaics: int | None = None,
        split_stage: str = "cells",
        split_seed: int = 0,
        test_fraction: float = 0.1,
        enhance: Step | None = None,
        tile_pipeline: Sequence[Step] = (),
        tile_augmentation: Sequence[Step] = (),
        pipeline: Sequence[Step] = (),
        fill: int = 230,
        seed: int = 0,
        test_mode: bool = False,
    ):
        self._check(n, size, mode, mosaics, split_stage, fill)
        self.n, self.size, self.mode, self.seed = n, size, mode, seed
        self.fill, self.test_mode = fill, test_mode
        self.cells = self._build_cells(dict(dataset), split_stage, test_mode)
        if split_stage == "mosaics":
            self._mosaics = self._share(mosaics, split_seed, test_fraction)
        else:
            self._mosaics = self._compose(mosaics)
        self.tile_pipeline = build_pipeline(with_enhancement(tile_pipeline, enhance))
        self.tile_augmentation = build_pipeline(tile_augmentation)
        self.pipeline = build_pipeline(pipeline)
        self.store = TileStore(self.cells, self.tile_pipeline, seed=seed)

    @staticmethod
    def _check(n, size, mode, mosaics, split_stage, fill) -> None:
        if mode not in MODES or split_stage not in SPLIT_STAGES:
            raise ValueError(
                f"mode must be one of {MODES} and split_stage one of {SPLIT_STAGES}, "
                f"got {mode!r} and {split_stage!r}"
            )
        if n < 1 or size < n:
            raise ValueError(f"n must be 1 or more and at most size, got {n}, {size}")
        if mode != "every" and (mosaics is None or mosaics < 1):
            raise ValueError(
                f"mode {mode!r} needs the number of mosaics, 1 or more; got {mosaics}"
            )
        if split_stage == "mosaics" and mode != "fixed":
            raise ValueError(f"split_stage 'mosaics' needs mode 'fixed', got {mode!r}")
        if not 0 <= fill <= 255:
            raise ValueError(f"fill must be a grey level of 0 to 255, got {fill}")

    @staticmethod
    def _build_cells(dataset: dict, split_stage: str, test_mode: bool):
        if split_stage == "mosaics":
            if dataset.get("split") not in (None, MOSAIC_SPLIT):
                raise ValueError(
                    f"split_stage 'mosaics' divides mosaics, not the cells of split "
                    f"{dataset['split']!r}; name {MOSAIC_SPLIT!r} or no split"
                )
            dataset["split"] = None
        dataset.setdefault("type", "leuko_mm.LeukocyteDataset")
        dataset["test_mode"] = test_mode
        return DATASETS.build({"_scope_": SCOPE, **dataset})

    def _share(self, mosaics: int, seed: int, test_fraction: float) -> list[list[int]]:
        composed = compose_fixed(len(self.cells), mosaics, self.n**2, seed=seed)
        parts = split_mosaics(mosaics, test_fraction=test_fraction, seed=seed)
        return [composed[i] for i in parts[self.cells.part]]

    def _compose(self, mosaics: int | None) -> list:
        cells, tiles = len(self.cells), self.n**2
        if self.mode == "every":
            return compose_every(cells, tiles, seed=self.seed)
        if self.mode == "resample":
            # Composed on demand; composing the first one reports too few cells now.
            compose_one(cells, tiles, seed=self.seed, index=0)
            return [None] * mosaics
        return compose_fixed(cells, mosaics, tiles, seed=self.seed)

    @property
    def metainfo(self) -> dict:
        """Classes and palette, as MMSegmentation asks for them."""
        return self.cells.metainfo

    def full_init(self) -> None:
        """Do nothing: everything was read when the dataset was built."""

    def __len__(self) -> int:
        return len(self._mosaics)

    def cells_of(self, index: int) -> list[int | None]:
        """Return the cells of a mosaic by global index; None marks a spare tile."""
        if self.mode == "resample":
            tiles = self.n**2
            return compose_one(len(self.cells), tiles, seed=self.seed, index=index)
        return self._mosaics[index % len(self)]

    def __getitem__(self, index: int) -> dict:
        """Return one mosaic by global index (see ``GlobalIndexSampler``)."""
        if self.test_mode and not 0 <= index < len(self):
            raise IndexError(f"mosaic {index} of {len(self)}, counted from 0")
        with sample_randomness(self.seed, index):
            return self.pipeline(self.compose(index))

    def __iter__(self) -> Iterator[dict]:
        """Yield one epoch; global indices alone would never end."""
        return (self[i] for i in range(len(self)))

    def compose(self, index: int) -> dict:
        """Return one mosaic before ``pipeline``: img BGR, gt_seg_map, tiles."""
        size = self.size
        image = np.full((size, size, 3), self.fill, dtype=np.uint8)
        labels = np.full((size, size), BACKGROUND, dtype=np.uint8)
        edges = tile_edges(size, self.n)
        tiles, spare = [], []
        for place, cell in enumerate(self.cells_of(index)):
            row, column = divmod(place, self.n)
            y0, y1, x0, x1 = *edges[row : row + 2], *edges[column : column + 2]
            if cell is None:
                spare.append((x0, y0, x1, y1))
                continue
            tile, mask = self._augmented(cell, y1 - y0, x1 - x0)
            image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = tile, mask
            info = self.cells.get_data_info(cell)
            kept = {key: info[key] for key in ("stem", "group", "class_name")}
            tiles.append({**kept, "box": (x0, y0, x1, y1)})
        return dict(
            img=image,
            gt_seg_map=labels,
            seg_fields=["gt_seg_map"],
            img_shape=(size, size),
            ori_shape=(size, size),
            tiles=tiles,
            spare_tiles=spare,
            sample_idx=index,
            reduce_zero_label=False,
        )

    def _augmented(self, cell: int, height: int, width: int):
        image, mask = self.store.tile(cell, height, width)
        if not self.tile_augmentation.transforms:
            return image, mask
        sample = dict(
            img=image.copy(),
            gt_seg_map=mask.copy(),
            seg_fields=["gt_seg_map"],
            img_shape=(height, width),
        )
        sample = self.tile_augmentation(sample)
        if sample["img"].shape[:2] != (height, width):
            raise ValueError(
                f"tile_augmentation changed a tile from {(height, width)} to "
                f"{sample['img'].shape[:2]}; it must keep the size"
            )
        return sample["img"], sample["gt_seg_map"]
