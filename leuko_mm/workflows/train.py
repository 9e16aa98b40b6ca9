"""Train one method under one protocol, test it, and write what came out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import read_about
from leuko_mm.engine.checkpoint_files import training_states
from leuko_mm.engine.finite_loss import NotFiniteError
from leuko_mm.engine.graceful_stop import GracefulStopHook, Interrupted
from leuko_mm.engine.kept_memory import keep_memory
from leuko_mm.engine.own_globals import own_globals
from leuko_mm.engine.training_state import TrainingStateHook
from leuko_mm.workflows.beginning import BeginningHook
from leuko_mm.workflows.building import build_runner, building_errors
from leuko_mm.workflows.calibration_hook import CalibrationHook
from leuko_mm.workflows.going_on import check_same_start, go_on_from
from leuko_mm.workflows.numerical_guards import guard_numbers
from leuko_mm.workflows.plain_loop import make_model_plain, make_plain
from leuko_mm.workflows.precision import set_precision
from leuko_mm.workflows.preflight import cells_config, check_run
from leuko_mm.workflows.resolve_config import config_hash, resolve_config
from leuko_mm.workflows.results import write_results
from leuko_mm.workflows.run_facts import git_at_start
from leuko_mm.workflows.run_place import place_run, run_name
from leuko_mm.workflows.start_from import check_start, start_from
from leuko_mm.workflows.typed_command import resuming

# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")


@dataclass
class TrainRequest:
    """What a user asked for.

    Args:
        config: a config's path or name.
        protocol, setting, split, data, seed, iterations, options: see
            ``resolve_config``.
        load_from: a trained model to start from; see ``start_from``.
        work_dir: output folder; None derives one below ``work_dirs/``, from the run's
            name and from data that is not the config's own.
        resume: go on from the last checkpoint of ``work_dir``.
        force: start anew in a folder that holds a run.
        amp: bfloat16 on or off; None turns it on where it helps.
        plain: leave out all that only makes it faster; see ``make_plain``.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        command: the command line, for the record.
        hooks: more hooks, which watch the run and are no part of its config.
    """

    config: str
    protocol: str | None = None
    setting: str | None = None
    split: str | None = None
    data: str | None = None
    seed: int | None = None
    iterations: int | None = None
    options: Mapping = field(default_factory=dict)
    load_from: str | None = None
    work_dir: str | None = None
    resume: bool = False
    force: bool = False
    amp: bool | None = None
    plain: bool = False
    launcher: str = "none"
    command: Sequence[str] = ()
    hooks: Sequence[Hook] = ()


def prepare_config(request: TrainRequest) -> Config:
    """Return the checked config of the run, with its output folder."""
    config = resolve_config(
        request.config,
        protocol=request.protocol,
        setting=request.setting,
        split=request.split,
        data=request.data,
        seed=request.seed,
        iterations=request.iterations,
        options=request.options,
    )
    if request.load_from is not None:
        start_from(config, request.load_from)
    place_run(config, request.work_dir or _usual_folder(request, config))
    config.launcher = request.launcher
    config.resume = request.resume
    set_precision(config, request.amp)
    if request.plain:
        make_plain(config, amp=request.amp)
    return config


def _usual_folder(request: TrainRequest, config: Config) -> str:
    """Return the run's folder; data that is not the config's own is named at its end.

    Else a run on other data would be told to replace the first.
    """
    folder = f"work_dirs/{run_name(config)}"
    if request.data is None:
        return folder
    own = resolve_config(request.config, protocol=request.protocol)
    if request.data == cells_config(own, "train").get("name"):
        return folder
    return f"{folder}-{Path(request.data).name}"


def train(request: TrainRequest) -> Path:
    """Train, test and write the results; return the output folder.

    Raises:
        UsageError, DatasetError, WeightsError: before anything is trained.
        Interrupted: on SIGINT or SIGTERM, after the state was saved.
    """
    git_at_start()
    config = prepare_config(request)
    work_dir = Path(config.work_dir)
    check_run(config, work_dir, resume=request.resume, force=request.force)
    check_start(config)
    if request.resume:
        go_on_from(config, work_dir)
    anew = request.force and not request.resume
    beginning = BeginningHook(former=work_dir if anew else None)
    go_on = resuming(request.command, launcher=request.launcher)
    stop = GracefulStopHook(work_dir, go_on=go_on)
    try:
        with own_globals():
            _train(request, config, beginning, stop=stop)
    except (Interrupted, NotFiniteError):  # their messages say what to do
        raise
    except Exception as error:
        if beginning.begun and training_states(work_dir):
            _add_note(error, f"the last state is in {work_dir}; {go_on}")
        raise
    finally:
        stop.give_back()
    return work_dir


def _add_note(error: Exception, words: str) -> None:
    if hasattr(error, "add_note"):
        error.add_note(words)
    else:  # Python 3.10
        LOGGER.error(words)


def _train(
    request: TrainRequest,
    config: Config,
    beginning: BeginningHook,
    *,
    stop: GracefulStopHook,
) -> None:
    if not request.plain:
        keep_memory()
    state = TrainingStateHook(identity_of(config))
    runner = build_runner(config)
    check_same_start(config)
    guard_numbers(runner, config)
    if request.plain:
        make_model_plain(runner.model)
    for hook in (stop, beginning, state, *request.hooks):
        runner.register_hook(hook)
    with stop.listening(runner), building_errors(beginning):
        runner.train()
    wall_s = state.trained_s
    score_anew(runner, config)
    if is_main_process():
        run = dict(
            command=request.command,
            iterations=runner.iter,
            started=state.started,
            wall_s=wall_s,
        )
        write_results(runner, config, run=run)


def identity_of(config: Config) -> dict[str, str]:
    """Return what tells a run from others: the sha256 of its config and its data.

    Raises:
        DatasetError: if the dataset is missing.
    """
    about = read_about(dataset_root(cells_config(config, "train")["name"]))
    return dict(config_sha256=config_hash(config), dataset_sha256=about["sha256"])


def score_anew(runner: Runner, config: Config) -> None:
    """Test with the random numbers of the seed, whatever was drawn before.

    A network that draws while it predicts then scores the same right after training,
    after a resumption and from its checkpoint.
    """
    runner.set_randomness(**config.randomness)
    runner.register_hook(CalibrationHook(Path(config.work_dir)))
    runner.test()
