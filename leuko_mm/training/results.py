"""Write the files of a run: results, checkpoint, table, calibration and pictures."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import cv2
import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

import leuko_mm
from leuko_mm.datasets.joined import data_record, read_sources, unknown_groups
from leuko_mm.engine.checkpoints import write_checkpoint
from leuko_mm.engine.runner import unwrapped
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.calibration import BINS, cell_class, pixel_bins, summary
from leuko_mm.evaluation.confusion import merge_leukocytes, per_class_table, scores
from leuko_mm.evaluation.metric import (
    CELLS_FILE,
    METRICS_FILE,
    LeukocyteMetric,
    load_cells,
)
from leuko_mm.files import write_text
from leuko_mm.models.cell_encoder_decoder import TEST_CFG_KEYS
from leuko_mm.models.size import count_parameters, multiply_adds, named_weights
from leuko_mm.registry import METRICS
from leuko_mm.training.config import cells_config, config_hash
from leuko_mm.training.custom_imports import IMPORTED
from leuko_mm.training.run_report import (
    cell_boxes,
    names_cells,
    pictures_right,
    show_run,
)
from leuko_mm.training.sidecar import sidecar_of

SCHEMA = 1
CALIBRATION_FILE = "calibration.json"
# What a resumed run must not be given again, abbreviations of argparse included.
ENTRY_OPTIONS = ("--force", "--resume")


def place_run(config: Config, work_dir: str) -> None:
    """Name the output folder wherever the config needs it."""
    evaluator = config.test_evaluator
    kind = evaluator.get("type") if isinstance(evaluator, Mapping) else None
    part = METRICS.get(kind) if isinstance(kind, str) else None
    if not isinstance(part, type) or not issubclass(part, LeukocyteMetric):
        raise UsageError(
            "test_evaluator must be dict(type='leuko_mm.LeukocyteMetric'), or a "
            "subclass of it, which writes what results.json is made of; the config has "
            f"{kind or evaluator!r}"
        )
    config.work_dir = evaluator.out_dir = work_dir
    # mmengine keeps visualizers and message hubs by name for the whole process.
    config.experiment_name = f"{Path(work_dir).name}-{time.time_ns()}"


def run_name(config: Config, *, protocol: bool = True) -> str:
    """Return ``<method>[-<variant>][-<protocol>]-<split>-s<seed>``."""
    split = cells_config(config, "train").get("split")
    seed = config.randomness.get("seed", 0)
    named = config.get("protocol") if protocol else None
    parts = [config.method, config.get("variant"), named, split]
    return "-".join([*(str(p) for p in parts if p), f"s{seed}"])


def as_typed(command: Sequence[str]) -> str:
    """Return a command line, quoted for a shell."""
    if not command:
        return ""
    words = [*command[0].split(), *command[1:]]
    if words[0].endswith(".py"):
        words.insert(0, "python")
    return shlex.join(words)


def how_to_resume(command: Sequence[str], *, launcher: str = "none") -> str:
    """Say what to type to go on with an unfinished run.

    ``command`` started it; it is empty where the run was started from Python.
    """
    if not command:
        return "go on with resume=True"
    kept = [
        word
        for word in command
        if word in ("", "-", "--") or not any(o.startswith(word) for o in ENTRY_OPTIONS)
    ]
    text = as_typed([*kept, "--resume"])
    if launcher == "none":
        return f"go on with:\n    {text}"
    return f"go on by starting, as before, the processes of:\n    {text}"


@cache
def git_state() -> str | None:
    """Return the commit of the code that runs, ``-dirty`` if changed.

    As it was when this process asked first. None where the package is installed
    without its repository, or git is not installed.
    """
    root = Path(leuko_mm.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def environment() -> dict:
    """Return the ``env`` block of a results file."""
    return dict(
        leuko_mm=leuko_mm.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmcv=mmcv.__version__,
        mmseg=mmseg.__version__,
        opencv=cv2.__version__,
        numpy=np.__version__,
        cpu=cpu_name(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def cpu_name() -> str:
    """Return the processor's name with the machine's cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return f"{names[0] if names else platform.processor()}, {os.cpu_count() or 1} cores"


def model_facts(
    model: nn.Module, config: Config, trained: Mapping | None = None
) -> dict:
    """Return the ``model`` block: parameters in 10^6, multiply-adds in 10^9.

    ``trained`` is the config of the model that a tested checkpoint was trained as.
    """
    size = config.test_dataloader.dataset.get("size", 256)
    # How predictions are post-processed; empty: pixel by pixel, in one view.
    reading = {key: getattr(model, key, None) for key in TEST_CFG_KEYS}
    plain = dict(least_area=(None,), views=(None, 1))
    start = config if trained is None else Config(dict(model=trained))
    return dict(
        params_m=count_parameters(model),
        gmacs=multiply_adds(config, size),
        input_size=size,
        # Not the model's own: one that is only tested is built without.
        pretrained=named_weights(start),
        reading={k: value for k, value in reading.items() if value not in plain[k]},
    )


def data_facts(config: Config, part: str) -> dict:
    """Return the ``data`` block of the loader of a part, ``train`` or ``test``.

    The tested groups are those of the test's loader.
    """
    sources = read_sources(cells_config(config, part))
    train, test = (
        sorted({s.recorded(row.group) for s in of_part for row in s.of(name)})
        for name, of_part in (
            ("train", sources),
            ("test", read_sources(cells_config(config, "test"))),
        )
    )
    if sources[0].parts is None:  # without a split every cell is tested
        train = []
    dataset = config[f"{part}_dataloader"].dataset
    enhance = dataset.get("enhance")
    return dict(
        **data_record(sources),
        train_groups=train,
        test_groups=test,
        mosaic=dict(n=dataset.n, mode=dataset.mode) if "n" in dataset else None,
        size=dataset.get("size"),
        enhance=enhance.to_dict() if enhance else None,
    )


def write_results(
    runner: Runner,
    config: Config,
    *,
    run: Mapping,
    checkpoint: Mapping | None = None,
    train_groups: list[str] | None = None,
    trained: Mapping | None = None,
) -> None:
    """Write everything a finished run publishes into its output folder.

    Args:
        runner: after training and testing.
        config: resolved.
        run: ``command``, ``iterations``, ``started`` (seconds since the epoch) and
            ``wall_s`` (seconds of training, testing not included).
        checkpoint: ``file`` and ``sha256`` of the file that was tested; None writes
            the model as a new one.
        train_groups: that a tested checkpoint was trained on; None: not known.
        trained: the model's config in the sidecar of a tested checkpoint.
    """
    work_dir = Path(config.work_dir)
    scored = json.loads((work_dir / METRICS_FILE).read_text(encoding="utf-8"))
    model = unwrapped(runner.model)
    tested = checkpoint is not None
    results = {
        "schema": SCHEMA,
        "run": _run_facts(config, runner, run),
        "data": data_facts(config, "test" if tested else "train"),
        "env": environment(),
        "model": model_facts(model, config, trained),
        "metrics": scored["metrics"],
        "per_class": scored["per_class"],
        "confusion": scored["confusion"],
        "cells": CELLS_FILE,
    }
    if tested:
        results["data"]["train_groups"] = train_groups
    else:
        path = work_dir / f"{work_dir.name}.pth"
        metainfo = runner.test_dataloader.dataset.metainfo
        sidecar = write_checkpoint(path, model, sidecar_of(config, results, metainfo))
        checkpoint = dict(file=path.name, sha256=sidecar["sha256"])
    results["checkpoint"] = dict(checkpoint)
    sources = read_sources(cells_config(config, "test"))
    remark = unknown_groups(sources, train_groups)
    right = None
    if names_cells(runner):
        right = pictures_right(load_cells(work_dir / CELLS_FILE).confusion)
    write_text(work_dir / "table.md", _table(results, right, remark))
    show_run(runner, config, results, tested=tested, remark=remark)
    # Last: its presence means that the run is finished and everything is there.
    write_text(work_dir / "results.json", json.dumps(results, indent=1) + "\n")


def _run_facts(config: Config, runner: Runner, run: Mapping) -> dict:
    started = datetime.fromtimestamp(run["started"], timezone.utc)
    return dict(
        name=Path(config.work_dir).name,
        command=as_typed(run["command"]),
        method=config.method,
        variant=config.get("variant"),
        protocol=config.get("protocol"),
        split=cells_config(config, "train").get("split"),
        seed=config.randomness.get("seed", 0),
        git=git_state(),
        config_sha256=config_hash(config),
        iterations=run["iterations"],
        selected_on="last",
        started=started.isoformat("T", "seconds"),
        wall_s=round(run["wall_s"], 1),
        device=str(next(runner.model.parameters()).device),
        threads=torch.get_num_threads(),
        amp=bool(config.optim_wrapper.get("enabled", False)),
        **({"imported": dict(config[IMPORTED])} if config.get(IMPORTED) else {}),
    )


def _table(results: dict, right: str | None, remark: str | None) -> str:
    """Return the table of a run.

    Args:
        results: of the run.
        right: how many pictures a network that names cells has right.
        remark: on the data.
    """
    run, data = results["run"], results["data"]
    part = f"split {run['split']}" if run["split"] else "every cell"
    # A test of a checkpoint trains nothing, and takes no time for it.
    took = f" in {run['wall_s'] / 60:.1f} minutes" if run["wall_s"] else ""
    # Those of a checkpoint without a sidecar are not known.
    length = f"{run['iterations']} iterations{took} " if run["iterations"] else ""
    head = (
        f"{run['method']}, protocol {run['protocol']}, {data['dataset']} {part}, seed "
        f"{run['seed']}: {length}on {run['device']}\n\n"
    )
    table = per_class_table(results["per_class"], results["metrics"])
    remark = f"\n{remark}\n" if remark else ""
    if right:  # its class 0 is no background
        table = table.replace("background", "other".ljust(len("background")))
        table = table.replace("pixel accuracy", "accuracy")
        return (
            f"{head}{right}; scores of whole pictures, in percent:\n\n{table}\n{remark}"
        )
    found = scores(merge_leukocytes(results["confusion"])).per_class["leukocyte"]
    return (
        f"{head}{table}\n"
        f"\nany leukocyte against background: IoU {found['iou']:.2f} %, "
        f"F1 {found['f1']:.2f} %\n{remark}"
    )


class CalibrationHook(Hook):
    """Write ``calibration.json`` of one test into a folder.

    Expected calibration errors, in percent, of the pixels and of the classes of whole
    cells, with the counts that they are made of (see ``evaluation.calibration``).
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.pixels, self.cells = np.zeros((BINS, 3)), []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Count one batch; what a test's last batch repeats is counted twice."""
        for sample in outputs or ():
            logits = getattr(sample, "seg_logits", None)
            if logits is None or logits.data.shape[0] < 2:
                continue
            shown = logits.data.float().softmax(dim=0).cpu().numpy()
            if not np.isfinite(shown).all():  # diverged: the scores will tell
                continue
            labels = sample.gt_sem_seg.data.cpu().numpy()
            truth = labels.reshape(labels.shape[-2:])
            for x0, y0, x1, y1 in cell_boxes(sample, truth.shape):
                here = np.s_[y0:y1, x0:x1]
                self.pixels += pixel_bins(shown[:, y0:y1, x0:x1], truth[here])
                found = cell_class(shown[:, y0:y1, x0:x1], truth[here])
                self.cells += [] if found is None else [found]

    def after_test_epoch(self, runner, metrics: Mapping | None = None) -> None:
        """Write the file, of what all processes saw."""
        parts = all_gather_object((self.pixels, self.cells))
        if is_main_process():
            pixels = sum(pixels for pixels, _ in parts)
            content = summary(pixels, [c for _, cells in parts for c in cells])
            text = json.dumps(content, indent=1) + "\n"
            write_text(self.folder / CALIBRATION_FILE, text)
