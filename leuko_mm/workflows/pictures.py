"""Draw a run's loss curve and its predictions beside the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.runner import Runner
from PIL import Image

from leuko_mm.engine.staged_freeze import StagedFreezeHook
from leuko_mm.report.curves import loss_curve
from leuko_mm.report.overlay import truth_against_prediction
from leuko_mm.workflows.predictions import PredictedImage

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
        losses = {"training loss": list(history.values())}
        marks = thaw_marks(runner)
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
