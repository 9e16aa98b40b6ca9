"""Build the runner of a run, and turn mistakes in its config into one clear line."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from leuko_mm.datasets.audit import leaks_by_design
from leuko_mm.datasets.prepared import (
    DatasetError,
    dataset_root,
    read_index,
    read_split,
)
from leuko_mm.engine.checkpoints import (
    STATES,
    UnsafeCheckpointError,
    save_states_atomically,
)
from leuko_mm.engine.data_parallel import prepare_launcher, unwrapped
from leuko_mm.engine.hooks import FiniteLossHook
from leuko_mm.engine.optim import bfloat16_helps
from leuko_mm.engine.runner import LegibleRunner
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.calibration import BINS, cell_class, pixel_bins, summary
from leuko_mm.files import write_text
from leuko_mm.models.cbam import CBAM
from leuko_mm.training.preflight import cells_config
from leuko_mm.training.sidecar import start_of


class BeginningHook(Hook):
    """Know when training begins.

    What fails before, such as weights that do not fit or a hook that finds no part of
    its name, is a fault of the config, and must not cost a former run; what fails
    afterwards is a fault of the code.

    Args:
        former: folder of a run that is forgotten at that moment.
    """

    def __init__(self, former: Path | None = None):
        self.former, self.begun = former, False

    def before_train_epoch(self, runner) -> None:
        """Note that the first iteration comes next."""
        if self.former is not None and not self.begun:
            forget_run(self.former)
        self.begun = True


def forget_run(work_dir: Path) -> None:
    """Remove the marks of a former run, so that nothing of it is taken up."""
    names = (
        "last_checkpoint",
        "results.json",
        "metrics.json",
        "cells.npz",
        "report.html",
        "table.md",
        f"{work_dir.name}.pth",
        f"{work_dir.name}.json",
    )
    for name in names:
        (work_dir / name).unlink(missing_ok=True)
    # The loss curve joins every log it finds.
    marks = (*STATES, "*/vis_data/scalars.json", "overlays/*.png", "loss.png")
    for path in (path for mark in marks for path in work_dir.glob(mark)):
        path.unlink(missing_ok=True)


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


USUAL_SIDE = 256


def guard_numbers(runner: Runner, config: Config) -> None:
    """Refuse a batch that cannot be normalised, and stop at losses that are no number.

    A config that brings a ``FiniteLossHook`` keeps its own.

    Raises:
        UsageError: if batch normalisation would meet one value a channel.
    """
    loader = config.train_dataloader
    if loader.get("batch_size") == 1:
        side = loader["dataset"].get("size") or USUAL_SIDE
        check_single_image(unwrapped(runner.model), side)
    if not any(isinstance(hook, FiniteLossHook) for hook in runner.hooks):
        runner.register_hook(FiniteLossHook())


def check_single_image(model: nn.Module, side: int) -> None:
    """Refuse a model that normalises a map of one pixel over batches of one image.

    Its one value a channel has no spread, and torch would refuse it in the first
    iteration, when everything is loaded. Nothing is computed to find out.

    Args:
        model: a segmentor, not wrapped.
        side: pixels of the images.

    Raises:
        UsageError: naming the layer.
    """
    shadow = copy.deepcopy(model).to("meta").train()
    alone: list[str] = []
    for name, part in shadow.named_modules():
        if isinstance(part, _BatchNorm):
            part.register_forward_pre_hook(_noting(name, alone))
    # What fails for another reason needs values; the training will tell.
    with contextlib.suppress(Exception):
        shadow(torch.empty(1, 3, side, side, device="meta"), None, mode="tensor")
    if alone:
        raise UsageError(
            f"batch_size is 1, and {alone[0]} normalises one value a channel of it, "
            "which has no spread; add --cfg-options train_dataloader.batch_size=2, or "
            "choose a norm other than BN for that part"
        )


def _noting(name: str, alone: list[str]):
    def note(part: nn.Module, inputs: tuple) -> None:
        values = inputs[0]
        if part.training and values.numel() == values.shape[1]:
            alone.append(name)

    return note


WRAPPER = "leuko_mm.AutocastOptimWrapper"


def set_precision(config: Config, amp: bool | None) -> None:
    """Switch bfloat16 on or off, in place.

    Args:
        config: resolved.
        amp: on or off; None turns it on where it helps.

    Raises:
        UsageError: if it is asked for, and the config's optimiser cannot.
    """
    wrapper = config.optim_wrapper.get("type")
    if wrapper == WRAPPER:
        config.optim_wrapper.enabled = bfloat16_helps() if amp is None else amp
    elif amp:
        raise UsageError(
            f"--amp needs optim_wrapper.type {WRAPPER!r}, the config has {wrapper!r}"
        )


# How an optimiser computes, not what.
WAYS = ("fused", "foreach", "capturable")
LAYOUT_HOOK, FREEZE_HOOK = "leuko_mm.ChannelsLastHook", "leuko_mm.StagedFreezeHook"


def make_plain(config: Config, *, amp: bool | None = None) -> None:
    """Turn off, in place, all that only makes a training faster.

    Float32 in mmengine's own ``OptimWrapper``, maps in the contiguous layout, Adam's
    usual step, no maps that are remembered. What is learnt, in which order and at which
    rates, stays; the learning rates of a pretrained encoder, too.

    Args:
        config: resolved. An optimiser wrapper that is not ours is left as it is.
        amp: what the user said of bfloat16.

    Raises:
        UsageError: if bfloat16 is asked for.
    """
    if amp:
        raise UsageError("--plain trains in float32; remove --amp or --plain")
    wrapper = config.optim_wrapper
    if wrapper.get("type") == WRAPPER:
        # Not ``update``, which would merge the old optimiser into the new one.
        for key, value in plain_optimiser(wrapper).items():
            wrapper[key] = value
        wrapper.pop("enabled", None)
        wrapper.pop("fused", None)
    hooks = config.get("custom_hooks") or []
    config.custom_hooks = [hook for hook in hooks if hook.get("type") != LAYOUT_HOOK]
    for hook in config.custom_hooks:
        if hook.get("type") == FREEZE_HOOK:
            hook.cache_mib = 0


def plain_optimiser(wrapper: Mapping) -> dict:
    """Return the wrapper and optimiser as mmengine builds them where nothing is asked.

    Args:
        wrapper: of a config, with its ``optimizer``.

    Example:
        >>> fast = dict(type="AdamW", lr=0.1, fused=True)
        >>> plain_optimiser(dict(type="leuko_mm.AutocastOptimWrapper", optimizer=fast))
        {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.1}}
    """
    kept = {k: given for k, given in wrapper["optimizer"].items() if k not in WAYS}
    return dict(type="OptimWrapper", optimizer=kept)


def make_model_plain(model: nn.Module) -> None:
    """Let the attention of a model take autograd's own passes back, in place.

    Example:
        >>> block = CBAM(16)
        >>> make_model_plain(nn.Sequential(block))
        >>> block.one_pass
        False
    """
    for part in model.modules():
        if isinstance(part, CBAM):
            part.one_pass = False


CALIBRATION_FILE = "calibration.json"


class CalibrationHook(Hook):
    """Write ``calibration.json`` beside the results of a test.

    Expected calibration errors, in percent, of the pixels and of the classes of whole
    cells, with the counts that they are made of (see ``evaluation.calibration``).

    Args:
        folder: where the file goes.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._forget()

    def _forget(self) -> None:
        self.pixels, self.cells = np.zeros((BINS, 3)), []

    def before_test_epoch(self, runner) -> None:
        """Begin anew."""
        self._forget()

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
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
            for x0, y0, x1, y1 in _boxes(sample.metainfo, truth.shape):
                here = np.s_[y0:y1, x0:x1]
                self.pixels += pixel_bins(shown[:, y0:y1, x0:x1], truth[here])
                found = cell_class(shown[:, y0:y1, x0:x1], truth[here])
                self.cells += [] if found is None else [found]

    def after_test_epoch(self, runner, metrics: Mapping | None = None) -> None:
        """Write the file, of what all processes saw."""
        seen = all_gather_object((self.pixels, self.cells))
        if not is_main_process():
            return
        told = summary(sum(p for p, _ in seen), [c for _, cells in seen for c in cells])
        write_text(self.folder / CALIBRATION_FILE, json.dumps(told, indent=1) + "\n")


def _boxes(meta: Mapping, shape: tuple[int, int]) -> list[Sequence[int]]:
    tiles = meta.get("tiles")
    whole = (0, 0, shape[1], shape[0])
    return [whole] if tiles is None else [tile["box"] for tile in tiles]


# What the libraries raise when a config names or sets something that is not there;
# mmcv and mmseg check arguments by assertion.
BUILDING_ERRORS = (
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    ImportError,
    AssertionError,
)


def build_runner(config: Config) -> Runner:
    """Build the runner with everything it will need, hours before it needs it.

    Raises:
        UsageError: if a part of the config does not build.
    """
    with building_errors():
        prepare_launcher(config)
        runner = LegibleRunner.from_cfg(config)
        # Before the parts that follow say details of themselves.
        announce_training(runner, config)
        save_states_atomically(runner)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        _ = runner.train_loop, runner.test_loop
    return runner


@contextmanager
def building_errors(beginning: BeginningHook | None = None) -> Iterator[None]:
    """Turn mistakes in a config, met while building, into one clear line.

    Args:
        beginning: tells when to let errors pass; None never does.

    Raises:
        UsageError: with what the failing part said; the cause stays attached.
    """
    try:
        yield
    except (DatasetError, UnsafeCheckpointError):
        raise
    except BUILDING_ERRORS as error:
        if beginning is not None and beginning.begun:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(f"the config does not build: {message}") from error
