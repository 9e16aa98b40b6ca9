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


SHOWN_MOSAICS = 4


def draw_pictures(
    runner: Runner, work_dir: Path, predictions: Mapping[int, PredictedImage]
) -> list[Path]:
    """Write ``loss.png`` and ``overlays/<i>.png``; return their paths.

    Args:
        runner: after testing.
        work_dir: the run's folder.
        predictions: by index, at least of the first ``SHOWN_MOSAICS`` test images.
    """
    paths = draw_overlays(runner, work_dir / "overlays", predictions)
    history = read_losses(work_dir)
    if history:
        out = work_dir / "loss.png"
        losses, marks = list(history.values()), thaw_marks(runner)
        loss_curve(list(history), losses, out=out, marks=marks, title=work_dir.name)
        paths.append(out)
    return paths


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
    """
    losses: dict[int, float] = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _entry(line)
            if "loss" in entry:
                losses[int(entry["step"])] = float(entry["loss"])
    return dict(sorted(losses.items()))


def _entry(line: str) -> dict:
    """Return a line of a log, {} for what a full disk or a lost machine left of one."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def shown_indices(runner: Runner) -> range:
    """Return the test images that are drawn whole."""
    return range(min(SHOWN_MOSAICS, len(runner.test_dataloader.dataset)))


def draw_overlays(
    runner: Runner, out: Path, predictions: Mapping[int, PredictedImage]
) -> list[Path]:
    """Draw the first test images, each beside its truth."""
    dataset = runner.test_dataloader.dataset
    out.mkdir(parents=True, exist_ok=True)
    colours = [tuple(c) for c in dataset.metainfo["palette"]]
    legend = dict(zip(dataset.metainfo["classes"], colours, strict=True))
    paths = []
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
        path = out / f"{index + 1:02d}.png"
        # Half the time of the default, for files that are a twentieth larger.
        Image.fromarray(picture).save(path, compress_level=4)
        paths.append(path)
    return paths
