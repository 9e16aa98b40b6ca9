"""Draw a run's loss curve and its predictions beside the truth."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import Dataset

from leuko_mm.engine.staged_freeze import StagedFreezeHook
from leuko_mm.registry import DATASETS
from leuko_mm.report.curves import loss_curve
from leuko_mm.report.overlay import truth_against_prediction

SHOWN_MOSAICS = 4


def draw_pictures(runner: Runner, work_dir: Path) -> list[Path]:
    """Write ``loss.png`` and ``overlays/<i>.png``; return their paths."""
    paths = draw_overlays(runner, work_dir / "overlays")
    history = read_losses(work_dir)
    if history:
        marks = {
            hook.iters: "encoder thawed"
            for hook in runner.hooks
            if isinstance(hook, StagedFreezeHook) and hook.iters
        }
        out = work_dir / "loss.png"
        losses = {"training loss": list(history.values())}
        loss_curve(list(history), losses, out=out, marks=marks, title=work_dir.name)
        paths.append(out)
    return paths


def read_losses(work_dir: Path) -> dict[int, float]:
    """Return {iteration: loss} from the logs of a run, resumptions joined.

    Where two logs hold the same iteration, as after a resumption, the later counts.
    """
    losses: dict[int, float] = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "loss" in entry:
                losses[int(entry["step"])] = float(entry["loss"])
    return dict(sorted(losses.items()))


def draw_overlays(runner: Runner, out: Path) -> list[Path]:
    """Segment the first test images and draw each beside its truth."""
    dataset = runner.test_dataloader.dataset
    plain = _without_enhancement(runner)
    out.mkdir(parents=True, exist_ok=True)
    runner.model.eval()
    colours = [tuple(c) for c in dataset.metainfo["palette"]]
    legend = dict(zip(dataset.metainfo["classes"], colours, strict=True))
    paths = []
    for index in range(min(SHOWN_MOSAICS, len(dataset))):
        batch = pseudo_collate([dataset[index]])
        seen = _rgb(batch)
        with torch.no_grad():
            sample = runner.model.test_step(batch)[0]
        picture = truth_against_prediction(
            seen if plain is None else _rgb(pseudo_collate([plain[index]])),
            sample.gt_sem_seg.data[0].cpu().numpy().astype(np.uint8),
            sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8),
            enhanced=None if plain is None else seen,
            title=f"test image {index + 1} of {len(dataset)}",
            legend=legend,
        )
        path = out / f"{index + 1:02d}.png"
        Image.fromarray(picture).save(path)
        paths.append(path)
    return paths


def _rgb(batch: dict) -> np.ndarray:
    """Return the first input of a batch as an RGB array; mmcv loads BGR."""
    image = batch["inputs"][0].numpy()  # (3, H, W)
    return np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])


def _without_enhancement(runner: Runner) -> Dataset | None:
    """Return the test dataset with the images as taken, if they were enhanced."""
    recipe = copy.deepcopy(runner.cfg.test_dataloader.dataset)
    if not recipe.get("enhance"):
        return None
    recipe["enhance"] = None
    return DATASETS.build(recipe)
