"""One pass of a run's model over the test images that its pictures need."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from leuko_mm.registry import DATASETS

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class PredictedImage:
    """A test image with its truth and its prediction, all of one size.

    Args:
        image: as taken, uint8 RGB.
        enhanced: as the model saw it; None without an enhancement.
        truth, prediction: class ids.
        boxes: x0, y0, x1, y1 of each cell's tile, ends excluded.

    Shape:
        image, enhanced (H, W, 3); truth, prediction (H, W) uint8.
    """

    image: np.ndarray
    enhanced: np.ndarray | None
    truth: np.ndarray
    prediction: np.ndarray
    boxes: tuple[Box, ...]

    def cell(self, number: int) -> PredictedImage:
        """Return one cell's tile of every array."""
        x0, y0, x1, y1 = self.boxes[number]
        rows, columns = slice(y0, y1), slice(x0, x1)
        return PredictedImage(
            image=self.image[rows, columns],
            enhanced=None if self.enhanced is None else self.enhanced[rows, columns],
            truth=self.truth[rows, columns],
            prediction=self.prediction[rows, columns],
            boxes=((0, 0, x1 - x0, y1 - y0),),
        )


def predict_images(runner: Runner, indices: Iterable[int]) -> dict[int, PredictedImage]:
    """Segment some test images, each once; return them by their index."""
    dataset = runner.test_dataloader.dataset
    plain = _without_enhancement(runner)
    runner.model.eval()
    return {
        index: _predict(runner, dataset, plain, index) for index in sorted(set(indices))
    }


def _predict(
    runner: Runner, dataset: Dataset, plain: Dataset | None, index: int
) -> PredictedImage:
    batch = pseudo_collate([dataset[index]])
    with torch.no_grad():
        sample = runner.model.test_step(batch)[0]
    truth = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    seen = _rgb(batch, truth.shape)
    return PredictedImage(
        image=seen
        if plain is None
        else _rgb(pseudo_collate([plain[index]]), truth.shape),
        enhanced=None if plain is None else seen,
        truth=truth,
        prediction=sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8),
        boxes=_boxes(sample, truth.shape),
    )


def _rgb(batch: dict, shape: tuple[int, int]) -> np.ndarray:
    """Return the first input of a batch as RGB in the mask's size; mmcv loads BGR."""
    image = batch["inputs"][0].numpy()  # (3, H, W)
    image = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])
    if image.shape[:2] == shape:
        return image
    # A test pipeline may resize the image, while its mask keeps the published size.
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)


def _boxes(sample: BaseDataElement, shape: tuple[int, int]) -> tuple[Box, ...]:
    tiles = sample.metainfo.get("tiles")
    if tiles is None:
        return ((0, 0, shape[1], shape[0]),)
    return tuple(tuple(tile["box"]) for tile in tiles)


def _without_enhancement(runner: Runner) -> Dataset | None:
    """Return the test dataset with the images as taken, if they were enhanced."""
    recipe = copy.deepcopy(runner.cfg.test_dataloader.dataset)
    if not recipe.get("enhance"):
        return None
    recipe["enhance"] = None
    return DATASETS.build(recipe)


def locate_cells(
    dataset: Dataset, stems: Sequence[str]
) -> list[tuple[int, int] | None]:
    """Find test cells by name: image index and number of the tile in it.

    Args:
        dataset: mosaics, or images of one cell each; nothing is loaded.
        stems: names in the order of the test; a name may repeat.

    Returns:
        One place a name, None for a name that the dataset has not (or no longer).
    """
    places: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
    for index in range(len(dataset)):
        for number, stem in enumerate(_stems_of(dataset, index)):
            places[stem].append((index, number))
    return [places[stem].popleft() if places[stem] else None for stem in stems]


def _stems_of(dataset: Dataset, index: int) -> list[str]:
    if hasattr(dataset, "cells_of"):
        cells = [cell for cell in dataset.cells_of(index) if cell is not None]
        return [dataset.cells.get_data_info(cell)["stem"] for cell in cells]
    info = dataset.get_data_info(index)
    return [info.get("stem") or Path(info["img_path"]).stem]
