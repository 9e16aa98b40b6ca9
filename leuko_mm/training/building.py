"""Build the runner of a run, and turn mistakes in its config into one clear line."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import nn

from leuko_mm.classes import OTHER
from leuko_mm.datasets.audit import leaks_by_design
from leuko_mm.datasets.joined import dataset_names, read_sources
from leuko_mm.engine.checkpoints import STATE_FILES, save_states_atomically
from leuko_mm.engine.optim import bfloat16_helps
from leuko_mm.engine.runner import LegibleRunner, prepare_launcher
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.models.cbam import CBAM
from leuko_mm.training.config import (
    FREEZE_HOOK,
    REPLACED,
    SETTING,
    SETTINGS,
    cells_config,
)
from leuko_mm.training.sidecar import start_of

WRAPPER = "leuko_mm.AutocastOptimWrapper"
LAYOUT_HOOK = "leuko_mm.ChannelsLastHook"
# Arguments that say how an optimiser computes, not what.
SPEED_ARGUMENTS = ("fused", "foreach", "capturable")
# What the libraries raise when a config names or sets something that is not there;
# mmcv asserts arguments.
BUILDING_ERRORS = (KeyError, TypeError, AttributeError, ValueError, ImportError)
BUILDING_ERRORS += (AssertionError,)
# What a run leaves in its folder, beside <run>.pth, <run>.json and the states. The
# loss curve joins every log that it finds.
LEFT_FILES = (
    "last_checkpoint",
    "results.json",
    "metrics.json",
    "calibration.json",
    "cells.npz",
    "report.html",
    "table.md",
    "loss.png",
    "overlays/*.png",
    "*/vis_data/scalars.json",
)


def set_precision(config: Config, amp: bool | None) -> None:
    """Switch bfloat16 on or off, in place; None turns it on where it helps.

    Raises:
        UsageError: if it is asked for, and the config's optimiser wrapper cannot.
    """
    wrapper = config.optim_wrapper.get("type")
    if wrapper == WRAPPER:
        config.optim_wrapper.enabled = bfloat16_helps() if amp is None else amp
    elif amp:
        raise UsageError(
            f"--amp needs optim_wrapper.type {WRAPPER!r}, the config has {wrapper!r}"
        )


def make_plain(config: Config, *, amp: bool | None = None) -> None:
    """Turn off, in place, all that only makes a training faster.

    That is bfloat16, channels-last memory, fused optimiser steps and the cache of the
    frozen encoder. An optimiser wrapper that is not ours is left as it is.

    Raises:
        UsageError: if bfloat16 is asked for.
    """
    if amp:
        raise UsageError("--plain trains in float32; remove --amp or --plain")
    wrapper = config.optim_wrapper
    if wrapper.get("type") == WRAPPER:
        wrapper.type = "OptimWrapper"
        for part, names in (
            (wrapper, ("enabled", "fused")),
            (wrapper.optimizer, SPEED_ARGUMENTS),
        ):
            for name in names:
                part.pop(name, None)
    hooks = config.get("custom_hooks") or []
    config.custom_hooks = [hook for hook in hooks if hook.get("type") != LAYOUT_HOOK]
    for hook in config.custom_hooks:
        if hook.get("type") == FREEZE_HOOK:
            hook.cache_mib = 0


def make_model_plain(model: nn.Module) -> None:
    """Let the attention of a model use autograd's own backward pass, in place."""
    for part in model.modules():
        if isinstance(part, CBAM):
            part.one_pass = False


def build_runner(config: Config) -> Runner:
    """Build the runner with everything that it will need, hours before it needs it.

    Raises:
        UsageError: if a part of the config does not build.
    """
    with building_errors():
        prepare_launcher(config)
        runner = LegibleRunner.from_cfg(config)
        # Before the parts that follow log details of themselves.
        announce_training(runner, config)
        save_states_atomically(runner)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        _ = runner.train_loop, runner.test_loop
    return runner


class TrainingStartHook(Hook):
    """Record that training has begun: write its config, remove the run it replaces.

    What fails before is a mistake in the config, and must not cost an earlier run.

    Attributes:
        started: the first iteration has begun.
        stepped: it has ended, so that the parts of the config fit each other.
    """

    def __init__(self, replaced: Path | None = None):
        self.replaced, self.started, self.stepped = replaced, False, False

    def before_train_epoch(self, runner) -> None:
        """Note that the first iteration comes next."""
        if not self.started:
            if self.replaced is not None:
                remove_run(self.replaced)
            runner.write_config()
        self.started = True

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Note that an iteration has ended."""
        self.stepped = True


def remove_run(work_dir: Path) -> None:
    """Remove the files of a run, so that the next one takes up nothing of it."""
    names = (*LEFT_FILES, STATE_FILES)
    left = [path for name in names for path in work_dir.glob(name)]
    own = [work_dir / f"{work_dir.name}{suffix}" for suffix in (".pth", ".json")]
    for path in (*left, *own):
        path.unlink(missing_ok=True)


@contextmanager
def building_errors() -> Iterator[None]:
    """Turn mistakes in a config, met while building, into one ``UsageError``."""
    try:
        yield
    except LeukoError:
        raise
    except BUILDING_ERRORS as error:
        raise UsageError(_explained("the config does not build", error)) from error


@contextmanager
def first_errors(
    start: TrainingStartHook, *, before: str = "the config does not build"
) -> Iterator[None]:
    """Turn whatever fails before an iteration has ended into one ``UsageError``.

    There a loss, a head and a batch meet for the first time. The traceback is in the
    log. After that, errors pass as they are. ``before`` is said of what fails before
    the first iteration.
    """
    try:
        yield
    except LeukoError:
        raise
    except Exception as error:
        if start.stepped:
            raise
        _log_traceback(error)
        what = "the first iteration failed" if start.started else before
        raise UsageError(_explained(what, error)) from error


def _explained(what: str, error: Exception) -> str:
    said = _message(error)
    kind = type(error).__name__
    plain = " " in said and isinstance(error, BUILDING_ERRORS)
    if not plain and not said.startswith(kind):
        said = f"{kind}: {said}"
    return f"{what}: {said}{_place(error)}"


def _message(error: Exception) -> str:
    """Return the first line of an error, or of the one that a data worker met."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    lines = [line.strip() for line in text.strip().splitlines()]
    if lines[1:2] == ["Original Traceback (most recent call last):"]:
        return next(line for line in reversed(lines) if line)
    return lines[0] if lines else type(error).__name__


def _place(error: Exception) -> str:
    """Return in which part of a config an error arose, '' if in none."""
    part = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        known = frame.f_locals
        if frame.f_code.co_name == "build_from_cfg":
            part = known.get("obj_type") or part
        elif frame.f_code.co_name in ("_call_impl", "transform"):
            part = type(known.get("self")).__name__
    return f" (in {part})" if part else ""


def _log_traceback(error: Exception) -> None:
    # On the console it would hide the message.
    logger = MMLogger.get_current_instance()
    for handler in (h for h in logger.handlers if hasattr(h, "baseFilename")):
        lines = "".join(traceback.format_exception(error))
        handler.handle(logger.makeRecord("", logging.ERROR, "", 0, lines, (), None))


def announce_training(runner: Runner, config: Config) -> None:
    """Log what is trained on what, before it starts."""
    loader = config.train_dataloader
    size = loader.dataset.get("size")
    image = f"images of {size} x {size} pixels" if size else "images"
    amp = ", bfloat16" if config.optim_wrapper.get("enabled") else ""
    first = start_of(config)
    lines = [
        f"training {_method(config)}",
        f"data      {_data(config)}: {_count(config, 'train')} to learn from, "
        f"{_count(config, 'test')} to test on",
        f"schedule  {config.train_cfg.max_iters} iterations of "
        f"{loader.get('batch_size', 1)} {image} on {_device(runner)}{amp}",
    ]
    if name := config.get(SETTING):
        lines.append(f"setting   {name}: {SETTINGS[name].words}{_instead(config)}")
    if first:
        lines.append(f"starts from {first}")
    if config.get("resume"):
        lines.append(f"resumes from {config.get('load_from') or 'its start'}")
    _log(runner, lines)


def announce_test(runner: Runner, config: Config, checkpoint: Path) -> None:
    """Log which checkpoint is tested on what."""
    lines = [
        f"testing {checkpoint} as {_method(config)}",
        f"data      {_data(config)}: {_count(config, 'test')} on {_device(runner)}",
    ]
    _log(runner, lines)


def _log(runner: Runner, lines: list[str]) -> None:
    file, here = Path(runner.logger.log_file or "").absolute(), Path.cwd()
    place = file.relative_to(here) if file.is_relative_to(here) else file
    runner.logger.info("\n    ".join([*lines, f"log       {place}"]))


def _method(config: Config) -> str:
    named = " ".join(str(w) for w in (config.method, config.get("variant")) if w)
    protocol = config.get("protocol")
    under = f" under the protocol {protocol}" if protocol else ""
    return f"{named}{under}, seed {config.randomness.get('seed', 0)}"


def _instead(config: Config) -> str:
    used = [loss["type"] for loss in SETTINGS[config[SETTING]].losses]
    former = [name for name in config[REPLACED] if name not in used]
    return f", instead of the config's {', '.join(former)}" if former else ""


def _data(config: Config) -> str:
    cells = cells_config(config, "test")
    data, split = " + ".join(dataset_names(cells)), cells.get("split")
    if split is None:
        return f"{data}, every cell"
    divided = ", which divides slides on purpose" if leaks_by_design(split) else ""
    return f"{data}, split {split}{divided}"


def _count(config: Config, part: str) -> str:
    """Say how many cells a part has, and how many that are none of the classes."""
    cells = cells_config(config, part)
    shown = cells.get("part", part)
    if config[f"{part}_dataloader"].dataset.get("type") == "leuko_mm.CellCropDataset":
        cells = {"other": True, **cells}
    rows = [row for source in read_sources(cells) for row in source.of(shown)]
    others = sum(row.class_name == OTHER for row in rows)
    words = f"{len(rows) - others} cells"
    return f"{words} and {others} of class other" if others else words


def _device(runner: Runner) -> str:
    device = next(runner.model.parameters()).device
    threads = torch.get_num_threads()
    words = f" with {threads} thread{'s' * (threads > 1)}"
    return f"{device}{words if device.type == 'cpu' else ''}"
