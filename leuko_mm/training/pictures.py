"""Draw a run's loss curve and its predictions beside the truth."""

from __future__ import annotations

import copy
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image
from torch.utils.data import Dataset

from leuko_mm.engine.staged_freeze import StagedFreezeHook
from leuko_mm.registry import DATASETS
from leuko_mm.report.overlay import truth_against_prediction
from leuko_mm.report.plots import loss_curve

SHOWN_IMAGES = 4  # drawn whole, beside their truth

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
        tile = np.s_[y0:y1, x0:x1]
        return PredictedImage(
            image=self.image[tile],
            enhanced=None if self.enhanced is None else self.enhanced[tile],
            truth=self.truth[tile],
            prediction=self.prediction[tile],
            boxes=((0, 0, x1 - x0, y1 - y0),),
        )


def predict_images(runner: Runner, indices: Iterable[int]) -> dict[int, PredictedImage]:
    """Segment some test images, each once; return them by their index."""
    plain = _without_enhancement(runner)
    runner.model.eval()
    return {index: _predict(runner, plain, index) for index in sorted(set(indices))}


def _predict(runner: Runner, plain: Dataset | None, index: int) -> PredictedImage:
    batch = pseudo_collate([runner.test_dataloader.dataset[index]])
    with torch.no_grad():
        sample = runner.model.test_step(batch)[0]
    truth = sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    image, enhanced = _rgb(batch, truth.shape), None
    if plain is not None:
        image, enhanced = _rgb(pseudo_collate([plain[index]]), truth.shape), image
    return PredictedImage(
        image=image,
        enhanced=enhanced,
        truth=truth,
        prediction=sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8),
        boxes=cell_boxes(sample, truth.shape),
    )


def _rgb(batch: dict, shape: tuple[int, int]) -> np.ndarray:
    """Return the first input of a batch as RGB in the mask's size; mmcv loads BGR."""
    image = batch["inputs"][0].numpy()  # (3, H, W)
    image = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])
    if image.shape[:2] == shape:
        return image
    # A test pipeline may resize the image, while its mask keeps the published size.
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)


def _without_enhancement(runner: Runner) -> Dataset | None:
    """Return the test dataset with the images as taken, if they were enhanced."""
    config = copy.deepcopy(runner.cfg.test_dataloader.dataset)
    if not config.get("enhance"):
        return None
    config["enhance"] = None
    return DATASETS.build(config)


def cell_boxes(sample: BaseDataElement, shape: tuple[int, int]) -> tuple[Box, ...]:
    """Return the tile of every cell in a sample: the whole image if it is no mosaic."""
    tiles = sample.metainfo.get("tiles")
    if tiles is None:
        return ((0, 0, shape[1], shape[0]),)
    return tuple(tuple(tile["box"]) for tile in tiles)


def locate_cells(
    dataset: Dataset, stems: Sequence[str]
) -> list[tuple[int, int] | None]:
    """Return image index and tile number of test cells, None for one that is not there.

    Args:
        dataset: mosaics, or images of one cell each; nothing is loaded.
        stems: names in the order of the test; a name may repeat.
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


def shown_indices(runner: Runner) -> range:
    """Return the test images that are drawn whole."""
    return range(min(SHOWN_IMAGES, len(runner.test_dataloader.dataset)))


def draw_pictures(
    runner: Runner, work_dir: Path, predictions: Mapping[int, PredictedImage]
) -> None:
    """Write ``loss.png``, and ``overlays/<i>.png`` of ``shown_indices``."""
    dataset = runner.test_dataloader.dataset
    (work_dir / "overlays").mkdir(parents=True, exist_ok=True)
    colours = [tuple(colour) for colour in dataset.metainfo["palette"]]
    legend = dict(zip(dataset.metainfo["classes"], colours, strict=True))
    for index in shown_indices(runner):
        shown = predictions[index]
        picture = truth_against_prediction(
            shown.image,
            shown.truth,
            shown.prediction,
            enhanced=shown.enhanced,
            title=f"test image {index + 1} of {len(dataset)}",
            legend=legend,
        )
        path = work_dir / "overlays" / f"{index + 1:02d}.png"
        # Half the time of the default, for files that are a twentieth larger.
        Image.fromarray(picture).save(path, compress_level=4)
    history = read_losses(work_dir)
    if history:
        loss_curve(
            list(history),
            list(history.values()),
            out=work_dir / "loss.png",
            marks=thaw_marks(runner),
            title=work_dir.name,
        )


def thaw_marks(runner: Runner) -> dict[int, str]:
    """Return what happened at which iteration of the training, for its curve."""
    return {
        hook.iters: "encoder thawed"
        for hook in runner.hooks
        if isinstance(hook, StagedFreezeHook) and hook.iters and hook.acts
    }


def read_losses(work_dir: Path) -> dict[int, float]:
    """Return {iteration: loss} from the logs of a run, resumptions joined.

    Where two logs hold the same iteration, as after a resumption, the later counts.
    Lines that a full disk or a lost machine has cut short are left out.
    """
    losses: dict[int, float] = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "loss" in entry:
                losses[int(entry["step"])] = float(entry["loss"])
    return dict(sorted(losses.items()))
