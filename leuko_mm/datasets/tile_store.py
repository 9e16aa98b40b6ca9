"""Tiles of a mosaic, loaded once and kept at the sizes that they are needed in."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from leuko_mm.datasets.sampling import sample_randomness

Tile = tuple[np.ndarray, np.ndarray]


class TileStore:
    """Load cells through a pipeline, resize them, and keep the tiles in memory.

    Args:
        cells: a dataset with ``get_data_info``.
        pipeline: from such an entry to a sample with ``img`` and ``gt_seg_map``.
        seed: of whatever the pipeline draws; it draws the same for a cell every time,
            so that the tile is the same whether it was kept or not.
        limit: bytes of tiles that are kept at most; others are made again.
    """

    def __init__(
        self,
        cells,
        pipeline: Callable[[dict], dict],
        *,
        seed: int = 0,
        limit: int = 2**29,
    ):
        self.cells, self.pipeline, self.seed = cells, pipeline, seed
        self.limit, self.used = limit, 0
        self._kept: dict[tuple[int, int, int], Tile] = {}

    def tile(self, cell: int, height: int, width: int) -> Tile:
        """Return image (H, W, 3) and labels (H, W) of a cell; do not write to them.

        Raises:
            ValueError: if the pipeline loads no image or no labels.
        """
        key = (cell, height, width)
        if key in self._kept:
            return self._kept[key]
        tile = resize_tile(*self._load(cell), height, width)
        size = sum(array.nbytes for array in tile)
        if self.used + size <= self.limit:
            self._kept[key] = tile
            self.used += size
        return tile

    def _load(self, cell: int) -> Tile:
        with sample_randomness(self.seed, cell):
            sample = self.pipeline(self.cells.get_data_info(cell))
        missing = [key for key in ("img", "gt_seg_map") if key not in sample]
        if missing:
            raise ValueError(
                f"tile_pipeline gives no {' and no '.join(missing)}; expected at least "
                "LoadImageFromFile and LoadAnnotations in it"
            )
        return sample["img"], sample["gt_seg_map"]


def resize_tile(image: np.ndarray, labels: np.ndarray, height: int, width: int) -> Tile:
    """Resize an image smoothly and its labels without mixing them.

    Example:
        >>> tile = resize_tile(np.zeros((4, 4, 3), np.uint8), np.eye(4), 2, 3)
        >>> [array.shape for array in tile]
        [(2, 3, 3), (2, 3)]
    """
    # Area averaging when shrinking: a linear kernel would alias granules.
    shrinks = height * width < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    size, exact = (width, height), cv2.INTER_NEAREST_EXACT
    return (
        cv2.resize(image, size, interpolation=way),
        cv2.resize(labels, size, interpolation=exact),
    )


def augmented(
    augmentation: Callable[[dict], dict], image: np.ndarray, labels: np.ndarray
) -> Tile:
    """Return what an augmentation makes of a tile, which is left as it is.

    Raises:
        ValueError: if it changes the size.
    """
    if not augmentation.transforms:
        return image, labels
    sample = augmentation(
        dict(
            img=image.copy(),
            gt_seg_map=labels.copy(),
            seg_fields=["gt_seg_map"],
            img_shape=labels.shape,
        )
    )
    if sample["img"].shape[:2] != labels.shape:
        raise ValueError(
            f"tile_augmentation changed a tile from {labels.shape} to "
            f"{sample['img'].shape[:2]}; it must keep the size"
        )
    return sample["img"], sample["gt_seg_map"]
