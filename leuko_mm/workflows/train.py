"""Train one method under one protocol, test it, and write what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.engine.data_parallel import prepare_launcher
from leuko_mm.engine.graceful_stop import GracefulStopHook
from leuko_mm.engine.safe_load import UnsafeCheckpointError
from leuko_mm.workflows.preflight import check_run
from leuko_mm.workflows.resolve_config import UsageError, resolve_config
from leuko_mm.workflows.results import write_results

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


@dataclass
class TrainRequest:
    """What a user asked for.

    Args:
        config: a config's path or name.
        protocol, setting, split, data, seed, options: see ``resolve_config``.
        work_dir: output folder; None derives one below ``work_dirs/``.
        resume: go on from the last checkpoint of ``work_dir``.
        force: start anew in a folder that holds a run.
        amp: bfloat16 on or off; None turns it on where it helps.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        command: the command line, for the record.
    """

    config: str
    protocol: str | None = None
    setting: str | None = None
    split: str | None = None
    data: str | None = None
    seed: int | None = None
    options: Mapping = field(default_factory=dict)
    work_dir: str | None = None
    resume: bool = False
    force: bool = False
    amp: bool | None = None
    launcher: str = "none"
    command: Sequence[str] = ()


def prepare_config(request: TrainRequest) -> Config:
    """Return the checked config of the run, with its output folder."""
    config = resolve_config(
        request.config,
        protocol=request.protocol,
        setting=request.setting,
        split=request.split,
        data=request.data,
        seed=request.seed,
        options=request.options,
    )
    place_run(config, request.work_dir or f"work_dirs/{run_name(config)}")
    config.launcher = request.launcher
    config.resume = request.resume
    wants_amp = bfloat16_helps() if request.amp is None else request.amp
    wrapper = config.optim_wrapper.get("type")
    if wrapper == "leuko_mm.AutocastOptimWrapper":
        config.optim_wrapper.enabled = wants_amp
    elif request.amp:
        raise UsageError(
            f"--amp needs optim_wrapper.type 'leuko_mm.AutocastOptimWrapper', the "
            f"config has {wrapper!r}"
        )
    return config


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


def run_name(config: Config) -> str:
    """Return ``<method>[-<variant>]-<protocol>-<split>-s<seed>``."""
    dataset = config.train_dataloader.dataset
    split = dataset.get("dataset", dataset).get("split")
    seed = config.randomness.get("seed", 0)
    parts = [config.method, config.get("variant"), config.get("protocol"), split]
    return "-".join([*(str(p) for p in parts if p), f"s{seed}"])


def train(request: TrainRequest) -> Path:
    """Train, test and write the results; return the output folder.

    Raises:
        UsageError, DatasetError, WeightsError: before anything is trained.
        Interrupted: on SIGINT or SIGTERM, after the state was saved.
    """
    config = prepare_config(request)
    work_dir = Path(config.work_dir)
    check_run(config, work_dir, resume=request.resume, force=request.force)
    started = time.time()
    runner = build_runner(config)
    anew = request.force and not request.resume
    stop = GracefulStopHook(work_dir)
    beginning = BeginningHook(former=work_dir if anew else None)
    runner.register_hook(stop)
    runner.register_hook(beginning)
    with stop.listening(runner), building_errors(beginning):
        runner.train()
    wall_s = time.time() - started
    runner.test()
    if is_main_process():
        run = dict(
            command=request.command,
            iterations=runner.iter,
            started=started,
            wall_s=wall_s,
        )
        write_results(runner, config, run=run)
    return work_dir


def forget_run(work_dir: Path) -> None:
    """Remove the marks of a former run, so that nothing of it is taken up."""
    names = (
        "last_checkpoint",
        "results.json",
        "metrics.json",
        "cells.npz",
        "report.html",
    )
    for name in names:
        (work_dir / name).unlink(missing_ok=True)
    # The loss curve joins every log it finds.
    marks = ("iter_*.pth", "*/vis_data/scalars.json", "overlays/*.png", "loss.png")
    for path in (path for mark in marks for path in work_dir.glob(mark)):
        path.unlink(missing_ok=True)


def build_runner(config: Config) -> Runner:
    """Build the runner with everything it will need, hours before it needs it.

    Raises:
        UsageError: if a part of the config does not build.
    """
    with building_errors():
        prepare_launcher(config)
        runner = Runner.from_cfg(config)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        _ = runner.train_loop, runner.test_loop
    return runner


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
