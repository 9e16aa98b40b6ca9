"""The few lines with which a run begins: what is done with what, where, and the log."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from leuko_mm.datasets.audit_splits import leaks_by_design
from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import read_index, read_split
from leuko_mm.workflows.preflight import cells_config
from leuko_mm.workflows.start_from import start_of


def announce_training(runner: Runner, config: Config) -> None:
    """Say what is trained on what, into console and log.

    Args:
        runner: built, before it trains.
        config: the run's resolved config.
    """
    learnt, tested = _cells(config, "train")
    start = config.get("load_from") or "its start"
    first = start_of(config)
    lines = [
        f"training {_method(config)}",
        f"data      {_data(config)}: {learnt} cells to learn from, {tested} to test on",
        f"schedule  {_schedule(config)} on {_device(runner, config)}",
        f"starts from {first}" if first else "",
        f"goes on from {start}" if config.get("resume") else "",
    ]
    _say(runner, lines)


def announce_test(runner: Runner, config: Config, checkpoint: Path) -> None:
    """Say which checkpoint is tested on what, into console and log."""
    _, tested = _cells(config, "test")
    lines = [
        f"testing {checkpoint} as {_method(config)}",
        f"data      {_data(config)}: {tested} cells on {_device(runner)}",
    ]
    _say(runner, lines)


def _say(runner: Runner, lines: list[str]) -> None:
    lines.append(f"log       {_relative(runner.logger.log_file)}")
    runner.logger.info("\n    ".join(filter(None, lines)))


def _relative(path: str | None) -> Path | None:
    """Return a path as short as it can be typed here."""
    place = Path(path or "").absolute()
    here = Path.cwd()
    return place.relative_to(here) if place.is_relative_to(here) else place


def _method(config: Config) -> str:
    named = " ".join(str(w) for w in (config.method, config.get("variant")) if w)
    protocol = config.get("protocol")
    under = f" under the protocol {protocol}" if protocol else ""
    return f"{named}{under}, seed {config.randomness.get('seed', 0)}"


def _data(config: Config) -> str:
    cells = cells_config(config, "test")
    split = cells.get("split")
    if split is None:
        return f"{cells['name']}, every cell"
    divided = ", which divides slides on purpose" if leaks_by_design(split) else ""
    return f"{cells['name']}, split {split}{divided}"


def _cells(config: Config, part: str) -> tuple[int, int]:
    """Return the cells to learn from and to test on."""
    cells = cells_config(config, part)
    root, split = dataset_root(cells["name"]), cells.get("split")
    if split is None:
        return 0, sum(row.kind == "cell" for row in read_index(root))
    parts = list(read_split(root, split).values())
    return parts.count("train"), parts.count("test")


def _schedule(config: Config) -> str:
    loop, loader = config.train_cfg, config.train_dataloader
    epochs = loop.get("max_epochs")
    length = f"{epochs} epochs" if epochs else f"{loop.get('max_iters')} iterations"
    size = loader.dataset.get("size")
    image = f"images of {size} x {size} pixels" if size else "images"
    return f"{length} of {loader.get('batch_size', 1)} {image}"


def _device(runner: Runner, config: Config | None = None) -> str:
    device = next(runner.model.parameters()).device
    words = str(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        words += f" with {threads} thread{'s' * (threads > 1)}"
    amp = config is not None and config.optim_wrapper.get("enabled")
    return f"{words}, bfloat16" if amp else words
