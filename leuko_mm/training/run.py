"""Train a method or test a checkpoint, and write the results."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

import leuko_mm
from leuko_mm.datasets.joined import data_record, read_sources
from leuko_mm.engine.checkpoints import (
    check_kinds,
    load_tensors,
    newest_state,
    training_states,
)
from leuko_mm.engine.hooks import (
    FiniteLossHook,
    GracefulStopHook,
    Interrupted,
    NotFiniteError,
    TrainingStateHook,
)
from leuko_mm.engine.runner import (
    LegibleRunner,
    closing_logs,
    prepare_launcher,
    unwrapped,
)
from leuko_mm.errors import UsageError
from leuko_mm.files import locked, real_path, sha256_of_file
from leuko_mm.processes import keep_memory
from leuko_mm.training import building, preflight
from leuko_mm.training.config import (
    cells_config,
    config_hash,
    data_tail,
    resolve_config,
)
from leuko_mm.training.custom_imports import check_imported
from leuko_mm.training.results import (
    CalibrationHook,
    git_state,
    how_to_resume,
    place_run,
    run_name,
    write_results,
)
from leuko_mm.training.sidecar import (
    check_sidecar,
    check_start,
    check_unseen,
    read_sidecar,
    recorded_groups,
    start_from,
)

LOGGER = logging.getLogger("leuko_mm")
# A data worker, which shares the lock of its training, ends 5 s after a killed one.
PATIENCE_S = 10
# What tells a process its number before torch has joined it with the others.
RANKS = dict(pytorch="RANK", slurm="SLURM_PROCID", mpi="OMPI_COMM_WORLD_RANK")


@dataclass
class Request:
    """What a user asks of a training and of a test alike; see ``resolve_config``.

    Args:
        work_dir: output folder; None derives one from the run.
        force: write over a run that is there.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        command: the command line, for the record.
    """

    config: str
    _: KW_ONLY
    protocol: str | None = None
    setting: str | None = None
    split: str | None = None
    data: str | None = None
    options: Mapping = field(default_factory=dict)
    work_dir: str | None = None
    force: bool = False
    launcher: str = "none"
    command: Sequence[str] = ()

    def resolve(self, **more) -> Config:
        """Return the complete config; ``seed`` and ``iterations`` may be added."""
        return resolve_config(
            self.config,
            protocol=self.protocol,
            setting=self.setting,
            split=self.split,
            data=self.data,
            options=self.options,
            **more,
        )


@dataclass
class TrainRequest(Request):
    """What a user asks of a training, beside ``Request``.

    Args:
        load_from: a trained model to start from; see ``start_from``.
        resume: go on from the last state in ``work_dir``.
        amp: bfloat16 on or off; None turns it on where it helps.
        plain: see ``make_plain``.
        hooks: which watch the run and are no part of its config.
    """

    _: KW_ONLY
    seed: int | None = None
    iterations: int | None = None
    load_from: str | None = None
    resume: bool = False
    amp: bool | None = None
    plain: bool = False
    hooks: Sequence[Hook] = ()


@dataclass
class TestRequest(Request):
    """What a user asks of a test: ``checkpoint`` is of ours, or a training state."""

    __test__ = False  # pytest would take the class for a collection of tests

    checkpoint: str


def prepare_config(request: TrainRequest) -> Config:
    """Return the checked config of a training, with its output folder."""
    config = request.resolve(seed=request.seed, iterations=request.iterations)
    if request.load_from is not None:
        start_from(config, request.load_from)
    place_run(config, request.work_dir or _usual_folder(request, config))
    config.launcher = request.launcher
    config.resume = request.resume
    building.set_precision(config, request.amp)
    if request.plain:
        building.make_plain(config, amp=request.amp)
    return config


def _usual_folder(request: TrainRequest, config: Config) -> str:
    # A finished run's copy of its config names the folder of that run.
    if given := config.get("work_dir"):
        file = real_path(Path(config.filename or ""))
        if real_path(Path(given)) not in file.parents:
            return given
    # Data that is not the config's own is named, or its run would replace another.
    tail = data_tail(request.data, request.config, request.protocol)
    return f"work_dirs/{run_name(config)}{tail}"


@closing_logs()
def train(request: TrainRequest) -> Path:
    """Train, test and write the results; return the output folder.

    Raises:
        UsageError, DatasetError, WeightsError: before anything is trained.
        Interrupted: on SIGINT or SIGTERM, after the state was saved.
    """
    git_state()  # what is committed later is not the code that runs
    config = prepare_config(request)
    check_imported(config)
    work_dir = Path(config.work_dir)
    preflight.check_run(config, work_dir, resume=request.resume, force=request.force)
    check_start(config)
    if request.resume:
        resume_from_newest(config, work_dir)
    replaces = request.force and not request.resume
    start = building.TrainingStartHook(work_dir if replaces else None)
    advice = how_to_resume(request.command, launcher=request.launcher)
    stop = GracefulStopHook(work_dir, advice=advice)
    done = False
    try:
        _train(request, config, start=start, stop=stop)
        done = True
    except (Interrupted, NotFiniteError):  # their messages say what to do
        raise
    except Exception as error:
        if start.started and training_states(work_dir):
            # As error.add_note, which Python 3.10 has not.
            note = f"the last state is in {work_dir}; {advice}"
            error.__notes__ = [*getattr(error, "__notes__", ()), note]
        raise
    finally:
        # A launcher ends all processes as soon as one has failed. The message of this
        # one comes first.
        if done or request.launcher == "none":
            stop.restore_signals()
    return work_dir


def _train(
    request: TrainRequest,
    config: Config,
    *,
    start: building.TrainingStartHook,
    stop: GracefulStopHook,
) -> None:
    if not request.plain:
        keep_memory()
    # Before the runner is built, which removes what a killed run left half written.
    with _only_training(Path(config.work_dir), request.launcher):
        state = TrainingStateHook(identity_of(config))
        runner = building.build_runner(config)
        check_same_start(config)
        preflight.check_batch_norm(config)
        # A config may bring one with other options.
        if not any(isinstance(hook, FiniteLossHook) for hook in runner.hooks):
            runner.register_hook(FiniteLossHook())
        if request.plain:
            building.make_model_plain(runner.model)
        for hook in (stop, start, state, *request.hooks):
            runner.register_hook(hook)
        with stop.catching_signals(runner):
            with building.first_errors(start, before="the first test image failed"):
                preflight.check_test(runner)
            with building.first_errors(start):
                runner.train()
        wall_s = state.trained_s
        score(runner, config)
        if is_main_process():
            run = dict(
                command=request.command,
                iterations=runner.iter,
                started=state.started,
                wall_s=wall_s,
            )
            write_results(runner, config, run=run)


@contextmanager
def _only_training(work_dir: Path, launcher: str) -> Iterator[None]:
    """Refuse to write states and results beside another training."""
    # The other processes of this one write nothing there.
    writes = int(os.environ.get(RANKS.get(launcher, ""), 0)) == 0
    work_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        end = time.monotonic() + PATIENCE_S
        while writes and not stack.enter_context(locked(work_dir)):
            stack.close()
            if time.monotonic() > end:
                raise UsageError(
                    f"another leuko train is writing into {work_dir}; wait for its "
                    "end, or choose another --work-dir"
                )
            time.sleep(0.5)
        yield


def resume_from_newest(config: Config, work_dir: Path) -> None:
    """Name the newest readable state; without one the training starts from nothing.

    Raises:
        UsageError: if the training has had states and none can be read.
    """
    state = newest_state(work_dir)
    mark = work_dir / "last_checkpoint"
    if state is None and mark.is_file():
        named = Path(mark.read_text(errors="replace").strip())
        # A config may send the states elsewhere.
        state = newest_state(named.parent) if named.is_file() else None
        if state is None:
            raise UsageError(
                f"{mark} names {named}, but no state of the training can be read; "
                "start again with --force instead of --resume"
            )
    config.resume = state is not None
    if state is None:
        LOGGER.warning(
            "nothing to resume in %s: the training begins at its start", work_dir
        )
    else:
        config.load_from = str(state)


def check_same_start(config: Config) -> None:
    """Refuse to train where not all processes go on from the same state.

    Only the first process writes states, and machines may share no folder.
    """
    own = Path(config.load_from).name if config.get("resume") else None
    starts = all_gather_object(own)
    if len(set(starts)) == 1:
        return
    each = ", ".join(
        f"process {rank} {'goes on ' * (rank == 0)}from {start or 'its start'}"
        for rank, start in enumerate(starts)
    )
    raise UsageError(
        f"the processes would not go on from the same state: {each}; only process 0 "
        f"writes states: copy its newest one into {config.work_dir} on every machine, "
        "or share that folder"
    )


def identity_of(config: Config) -> dict[str, str]:
    """Return what tells a run from others: the sha256 of config, data and split."""
    data = data_record(read_sources(cells_config(config, "train")))
    identity = dict(config_sha256=config_hash(config), dataset_sha256=data["sha256"])
    if "split_sha256" in data:
        identity["split_sha256"] = data["split_sha256"]
    return identity


def score(runner: Runner, config: Config) -> None:
    """Test with the random numbers of the seed, whatever was drawn before."""
    runner.set_randomness(**config.randomness)
    runner.register_hook(CalibrationHook(Path(config.work_dir)))
    runner.test()


@closing_logs()
def run_test(request: TestRequest) -> Path:
    """Test a checkpoint and write the results; return the output folder.

    Raises:
        UsageError: if checkpoint, sidecar and config do not fit one another.
        DatasetError: if the dataset is missing or broken.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    path = Path(request.checkpoint)
    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    digest = sha256_of_file(path)
    sidecar = read_sidecar(path)
    config = request.resolve(seed=sidecar.get("training", {}).get("seed"))
    check_imported(config)
    split = cells_config(config, "test").get("split")
    name = "-".join(str(p) for p in ("test", config.get("protocol"), split) if p)
    place_run(config, request.work_dir or _test_folder(path, name))
    config.launcher = request.launcher
    work_dir = Path(config.work_dir)
    preflight.check_output(work_dir, resume=False, force=request.force)
    preflight.check_hooks(config)
    preflight.check_data(config)
    if not sidecar:
        LOGGER.warning(
            "%s has no sidecar (%s): nothing tells which cells it was trained on, and "
            "the scores may be of those",
            path,
            path.with_suffix(".json").name,
        )
    check_unseen(config, sidecar)
    _test(request, config, sidecar, digest)
    return work_dir


def _test_folder(checkpoint: Path, name: str) -> str:
    """Return a folder beside a checkpoint; for one of the package, below work_dirs."""
    if real_path(Path(leuko_mm.__file__)).parent in real_path(checkpoint).parents:
        return f"work_dirs/{checkpoint.stem}-{name}"
    return str(checkpoint.parent / name)


def _test(request: TestRequest, config: Config, sidecar: dict, digest: str) -> None:
    path = Path(request.checkpoint)
    keep_memory()
    runner = _test_runner(config)
    check_sidecar(path, sidecar, config, runner.test_dataloader.dataset.metainfo)
    load_model(runner, path)
    building.announce_test(runner, config, path)
    started = time.time()
    score(runner, config)
    if is_main_process():
        sources = read_sources(cells_config(config, "test"))
        write_results(
            runner,
            config,
            run=dict(
                command=request.command,
                iterations=sidecar.get("training", {}).get("iterations"),
                started=started,
                wall_s=0.0,
            ),
            checkpoint=dict(file=str(path), sha256=digest),
            train_groups=recorded_groups(sources, sidecar),
            trained=sidecar.get("config", {}).get("model"),
        )


def _test_runner(config: Config) -> Runner:
    slim = copy.deepcopy(config)
    # A test needs neither optimiser nor schedule, nor does a runner without a loop.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        slim[key] = None
    # The checkpoint brings every weight; pretrained ones need not be there.
    if "init_cfg" in slim.model.get("backbone", {}):
        slim.model.backbone.init_cfg = None
    with building.building_errors():
        prepare_launcher(slim)
        runner = LegibleRunner.from_cfg(slim)
        runner.write_config()
        _ = runner.test_loop
    return runner


def load_model(runner: Runner, path: Path) -> None:
    """Load every weight of the model, or say which do not fit."""
    model = unwrapped(runner.model)
    tensors = load_tensors(path)
    tensors = tensors.get("state_dict", tensors)
    check_kinds(model, tensors, file=path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise UsageError(
            f"{path} does not fit the config: {' '.join(lines)[:300]}"
        ) from None
