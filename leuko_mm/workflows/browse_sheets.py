"""Draw cells, masks, mosaics and batches of a dataset or a config, as they are."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.leukocyte_dataset import build_pipeline
from leuko_mm.registry import DATASETS, SCOPE
from leuko_mm.report.browse_page import Figure
from leuko_mm.report.overlay import overlay
from leuko_mm.report.run_report import ClassLabel
from leuko_mm.workflows.first_batches import BatchImage
from leuko_mm.workflows.run_report import class_labels

LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))
LEAST_SIDE = 256  # px; the outline of a smaller cell would hide it


class Shown:
    """What a dataset shows of itself.

    Args:
        dataset: built, of cells or of mosaics of them.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.cells = getattr(dataset, "cells", dataset)

    @cached_property
    def infos(self) -> list[dict]:
        """All cells of the part."""
        return [self.cells.get_data_info(i) for i in range(len(self.cells))]

    @cached_property
    def labels(self) -> tuple[ClassLabel, ...]:
        """The classes, in the order of their ids."""
        return class_labels(self.cells.metainfo)

    def cell_figures(self, chosen: Sequence[int], *, masks: bool) -> tuple[Figure, ...]:
        """Return the chosen cells as they were taken, or with their masks outlined."""
        load, figures = build_pipeline(LOADING), []
        for number in chosen:
            info = self.cells.get_data_info(number)
            sample = load(info)
            image, truth = as_rgb(sample["img"]), sample["gt_seg_map"]
            if masks:
                image = self._outlined(*_enlarged(image, truth))
            notes = info["group"], _size(truth)
            title, classes = info["stem"], self._classes(truth)
            figures.append(Figure(title, notes, classes, (image,)))
        return tuple(figures)

    def mosaic_figures(self, mosaics, count: int) -> tuple[Figure, ...]:
        """Return the first mosaics, plain and outlined.

        Args:
            mosaics: the dataset, without augmentation; see ``unaugmented``.
            count: how many at most.
        """
        figures = []
        for index in range(min(count, len(mosaics))):
            sample = mosaics[index]
            image, truth = as_rgb(sample["img"]), sample["gt_seg_map"]
            notes = (", ".join(tile["stem"] for tile in sample["tiles"]),)
            pictures = image, self._outlined(image, truth)
            title = f"mosaic {index + 1}"
            figures.append(Figure(title, notes, self._classes(truth), pictures))
        return tuple(figures)

    def batch_figures(self, images: Sequence[BatchImage]) -> tuple[Figure, ...]:
        """Return images of batches, plain and outlined."""
        return tuple(
            Figure(
                f"batch {shown.batch + 1}, {shown.place + 1} of {shown.size}",
                (_size(shown.labels),),
                self._classes(shown.labels),
                (shown.image, self._outlined(shown.image, shown.labels)),
            )
            for shown in images
        )

    def _classes(self, truth: np.ndarray) -> tuple[ClassLabel, ...]:
        found = set(np.unique(truth).tolist()) - {BACKGROUND, IGNORE_LABEL}
        return tuple(self.labels[number] for number in sorted(found))

    def _outlined(self, image: np.ndarray, truth: np.ndarray) -> np.ndarray:
        legend = {label.name: label.colour for label in self.labels}
        width = 1 if max(truth.shape) <= LEAST_SIDE else 2
        return overlay(image, truth, alpha=0, outline=width, legend=legend)


def _size(labels: np.ndarray) -> str:
    # Spaces that do not break: a narrow caption keeps the two numbers together.
    return f"{labels.shape[1]}\u00a0x\u00a0{labels.shape[0]}"


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image of a pipeline, BGR or grey, as RGB uint8.

    Example:
        >>> as_rgb(np.array([[[1, 2, 3]]], np.uint8)).tolist()
        [[[3, 2, 1]]]
    """
    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.ascontiguousarray(image[..., ::-1])


def _enlarged(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor = LEAST_SIDE / max(truth.shape)
    if factor <= 1:
        return image, truth
    size = tuple(max(1, round(side * factor)) for side in truth.shape[::-1])
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_CUBIC),
        cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def choose_spread(classes: Sequence[str], count: int, *, seed: int) -> list[int]:
    """Choose things so that every class comes equally often, as far as it can.

    Args:
        classes: of each thing.
        count: how many at most.
        seed: which of each class.

    Returns:
        Their numbers, a class in one row after the other.

    Example:
        >>> chosen = choose_spread(["a"] * 9 + ["b"] * 2, 6, seed=0)
        >>> [number > 8 for number in chosen]
        [False, False, False, False, True, True]
    """
    by_class = defaultdict(list)
    for number in np.random.default_rng(seed).permutation(len(classes)).tolist():
        by_class[classes[number]].append(number)
    # First of each class its first thing, then of each its second, ...
    turns = [
        (turn, kind, number)
        for kind, numbers in by_class.items()
        for turn, number in enumerate(numbers)
    ]
    kept = sorted(turns)[:count]
    order = {kind: place for place, kind in enumerate(dict.fromkeys(classes))}
    return [n for _, _, n in sorted(kept, key=lambda t: (order[t[1]], t[0]))]


def build_dataset(config: Config, part: str):
    """Build the dataset of a config's loader."""
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        return DATASETS.build(copy.deepcopy(config[f"{part}_dataloader"]["dataset"]))


def unaugmented(config: Config, part: str) -> Config:
    """Return a config whose mosaics are composed and nothing more."""
    bare = copy.deepcopy(config)
    dataset = bare[f"{part}_dataloader"]["dataset"]
    dataset["tile_augmentation"], dataset["pipeline"] = [], []
    return bare
