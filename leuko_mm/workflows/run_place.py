"""What a run is called, and where its files go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.workflows.preflight import cells_config


def place_run(config: Config, work_dir: str) -> None:
    """Name the output folder wherever the config needs it.

    Raises:
        UsageError: if the evaluator is not the one that results are made of.
    """
    evaluator = config.test_evaluator
    kind = evaluator.get("type") if isinstance(evaluator, Mapping) else evaluator
    if kind != "leuko_mm.LeukocyteMetric":
        raise UsageError(
            "test_evaluator must be 'leuko_mm.LeukocyteMetric', which writes what "
            f"results.json is made of; the config has {kind!r}"
        )
    config.work_dir = evaluator.out_dir = work_dir
    # mmengine keeps visualizers and message hubs by name for the whole process.
    config.experiment_name = f"{Path(work_dir).name}-{time.time_ns()}"


def run_name(config: Config, *, protocol: bool = True) -> str:
    """Return ``<method>[-<variant>]-<protocol>-<split>-s<seed>``.

    Args:
        config: resolved.
        protocol: False leaves the protocol out.
    """
    split = cells_config(config, "train").get("split")
    seed = config.randomness.get("seed", 0)
    named = config.get("protocol") if protocol else None
    parts = [config.method, config.get("variant"), named, split]
    return "-".join([*(str(p) for p in parts if p), f"s{seed}"])
