"""Write what a run leaves behind: results, checkpoint, table and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.engine.checkpoint_files import write_checkpoint
from leuko_mm.evaluation.confusion import merge_leukocytes, scores
from leuko_mm.evaluation.leukocyte_metric import CELLS_FILE, METRICS_FILE
from leuko_mm.evaluation.tables import per_class_table
from leuko_mm.files import write_text
from leuko_mm.workflows.preflight import cells_config
from leuko_mm.workflows.resolve_config import config_hash
from leuko_mm.workflows.run_facts import (
    environment,
    git_at_start,
    model_facts,
)
from leuko_mm.workflows.run_report import show_run
from leuko_mm.workflows.sidecar import sidecar_of
from leuko_mm.workflows.typed_command import as_typed

SCHEMA = 1


def write_results(
    runner: Runner,
    config: Config,
    *,
    run: Mapping,
    checkpoint: Mapping | None = None,
    learnt_from: list[str] | None = None,
) -> dict:
    """Write everything a finished run publishes into its output folder.

    ``results.json``, ``table.md``, ``<run>.pth`` with its sidecar, the loss curve,
    the overlays and ``report.html``; ``cells.npz`` is the evaluator's.

    Args:
        runner: after training and testing.
        config: the run's resolved config.
        run: ``command``, ``iterations``, ``started`` (seconds since the epoch) and
            ``wall_s`` (seconds of training, testing not included).
        checkpoint: ``file`` and ``sha256`` of the file that was tested; None writes
            the model as a new one.
        learnt_from: groups that a tested checkpoint was trained on, None where that
            is not known; a training's are those of its split.

    Returns:
        The results as written.
    """
    work_dir = Path(config.work_dir)
    scored = json.loads((work_dir / METRICS_FILE).read_text())
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    # A training's results say what was learnt from, a test's what was tested on.
    part = "train" if checkpoint is None else "test"
    results = {
        "schema": SCHEMA,
        "run": _run(config, runner, run),
        "data": data_facts(config, part),
        "env": environment(),
        "model": model_facts(model, config),
        "metrics": scored["metrics"],
        "per_class": scored["per_class"],
        "confusion": scored["confusion"],
        "cells": CELLS_FILE,
    }
    if checkpoint is None:
        path = work_dir / f"{work_dir.name}.pth"
        metainfo = runner.test_dataloader.dataset.metainfo
        sidecar = write_checkpoint(path, model, sidecar_of(config, results, metainfo))
        checkpoint = dict(file=path.name, sha256=sidecar["sha256"])
    else:
        results["data"]["train_groups"] = learnt_from
    results["checkpoint"] = dict(checkpoint)
    write_text(work_dir / "table.md", _table(results))
    show_run(runner, config, results, tested=part == "test")
    # Last: its presence means that the run is finished and everything is there.
    write_text(work_dir / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def _run(config: Config, runner: Runner, run: Mapping) -> dict:
    dataset = config.train_dataloader.dataset
    started = datetime.fromtimestamp(run["started"], timezone.utc)
    return dict(
        name=Path(config.work_dir).name,
        command=as_typed(run["command"]),
        method=config.method,
        variant=config.get("variant"),
        protocol=config.get("protocol"),
        split=dataset.get("dataset", dataset).get("split"),
        seed=config.randomness.get("seed", 0),
        git=git_at_start(),
        config_sha256=config_hash(config),
        iterations=run["iterations"],
        selected_on="last",
        started=started.isoformat("T", "seconds"),
        wall_s=round(run["wall_s"], 1),
        device=str(next(runner.model.parameters()).device),
        threads=torch.get_num_threads(),
        amp=bool(config.optim_wrapper.get("enabled", False)),
    )


def data_facts(config: Config, part: str) -> dict:
    """Return the ``data`` block: which dataset, which groups train and test.

    Args:
        config: the run's resolved config.
        part: ``train`` or ``test``, whose loader's mosaics and enhancement are told.
    """
    cells = cells_config(config, part)
    root = dataset_root(cells["name"])
    about = read_about(root)
    rows = [row for row in read_index(root) if row.kind == "cell"]
    # Without a split every cell is tested.
    split = cells.get("split")
    parts = (
        read_split(root, split)
        if split
        else dict.fromkeys((r.stem for r in rows), "test")
    )
    groups: dict[str, set[str]] = {"train": set(), "test": set()}
    for row in rows:
        if row.stem in parts:
            groups[parts[row.stem]].add(row.group)
    dataset = config[f"{part}_dataloader"].dataset
    enhance = dataset.get("enhance")
    return dict(
        dataset=about["name"],
        sha256=about["sha256"],
        train_groups=sorted(groups["train"]),
        test_groups=sorted(groups["test"]),
        mosaic=dict(n=dataset.n, mode=dataset.mode) if "n" in dataset else None,
        size=dataset.get("size"),
        enhance=enhance.to_dict() if enhance else None,
    )


def _table(results: dict) -> str:
    run, data = results["run"], results["data"]
    part = f"split {run['split']}" if run["split"] else "every cell"
    # A test of a checkpoint trains nothing, and takes no time for it.
    took = f" in {run['wall_s'] / 60:.1f} minutes" if run["wall_s"] else ""
    head = (
        f"{run['method']}, protocol {run['protocol']}, {data['dataset']} {part}, seed "
        f"{run['seed']}: {run['iterations']} iterations{took} on {run['device']}\n\n"
    )
    # Whether cells are found at all, whatever class they are given.
    found = scores(merge_leukocytes(results["confusion"])).per_class["leukocyte"]
    tail = (
        f"\nany leukocyte against background: IoU {found['iou']:.2f} %, "
        f"F1 {found['f1']:.2f} %\n"
    )
    return (
        head + per_class_table(results["per_class"], results["metrics"]) + "\n" + tail
    )
