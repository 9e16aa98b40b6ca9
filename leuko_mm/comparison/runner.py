"""Train every run of a comparison that is not done yet, and publish its results.

All runs share one process: importing torch again for each would take longer than a run
of the smoke protocol. ``engine.runner.own_globals`` keeps them apart.
"""

from __future__ import annotations

import gc
import io
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.hooks import Hook

from leuko_mm.comparison.plan import CompareRequest, PlannedRun, plan_runs
from leuko_mm.comparison.results import (
    RESULTS_FILE,
    cells_beside,
    publish,
    read_results,
)
from leuko_mm.engine.checkpoints import newest_state, training_states
from leuko_mm.engine.hooks import Interrupted, read_identity
from leuko_mm.files import locked
from leuko_mm.processes import Share, gathered, share_of, stop_on_signals
from leuko_mm.progress import duration
from leuko_mm.training.run import train

# How far a run is, and what became of it.
DONE, FINISHED, STOPPED, DIFFERS, WAITING, FAILED, ELSEWHERE = (
    "done",
    "finished, not published",
    "stopped",
    "differs",
    "waiting",
    "failed",
    "left to another process",
)
# Which counts where several processes have looked at one run: the last.
BY_WEIGHT = (ELSEWHERE, DIFFERS, FAILED, DONE)
ERROR_FILE = "error.txt"
PROGRESS_S = 60.0


def run_status(run: PlannedRun, *, force: bool = False) -> tuple[str, str]:
    """Return how far a run is, and what there is to say of it.

    With ``force``, what differs counts as absent.
    """
    if run.target.exists():
        published = read_results(run.target)
        difference = (
            "is damaged" if published is None else results_difference(published, run)
        )
        if difference and not force:
            return DIFFERS, f"{run.target} {difference}"
        if not difference and cells_beside(run.target).is_file():
            return DONE, ""
    finished = read_results(run.work_dir / RESULTS_FILE)
    if finished is not None:
        status, place = (FINISHED, ""), str(run.work_dir)
        difference = results_difference(finished, run)
    elif state := newest_state(run.work_dir):
        status = STOPPED, f"at {state.stem.replace('_', ' ')}"
        place = f"{run.work_dir}, not finished,"
        difference = identity_difference(read_identity(state), run)
    else:
        return WAITING, ""
    if difference:
        return (WAITING, "") if force else (DIFFERS, f"{place} {difference}")
    return status


def results_difference(results: Mapping, run: PlannedRun) -> str | None:
    """Return in what a results file differs from a planned run, None if in nothing."""
    of_run = results.get("run", {})
    identity = dict(
        config_sha256=of_run.get("config_sha256"),
        dataset_sha256=results.get("data", {}).get("sha256"),
    )
    difference = identity_difference(identity, run)
    amp = bool(run.config.optim_wrapper.get("enabled", False))
    if difference and of_run.get("amp", amp) != amp:
        words = "without bfloat16: --no-amp" if amp else "with bfloat16: --amp"
        difference += f"; it was made {words} asks for the same"
    return difference


def identity_difference(identity: Mapping, run: PlannedRun) -> str | None:
    """Return in what an identity differs from that of a planned run.

    ``identity`` holds the sha256 of a config and of a dataset; what is missing differs.
    """
    found = [
        f"{key.removesuffix('_sha256')} ({str(identity.get(key))[:12]}, now "
        f"{value[:12]})"
        for key, value in run.identity.items()
        if identity.get(key) != value
    ]
    return f"has another {' and another '.join(found)}" if found else None


@dataclass(frozen=True)
class Outcome:
    """What became of a run, and what the user needs to know of it."""

    name: str
    status: str
    note: str = ""


class ProgressHook(Hook):
    """Say once a minute how far a training is.

    ``time_left`` takes the share of this run that is left and returns words.
    """

    def __init__(
        self, say: Callable[[str], None], name: str, time_left: Callable[[float], str]
    ):
        self.say, self.name, self.time_left = say, name, time_left
        self._said = time.monotonic()

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Print a line, if the last one is a minute old."""
        if time.monotonic() - self._said < PROGRESS_S:
            return
        self._said = time.monotonic()
        done, total = runner.iter + 1, runner.max_iters
        words = self.time_left(1 - done / total)
        self.say(f"    {self.name}: iteration {done} of {total}{words}")


def survey(request: CompareRequest) -> list[tuple[PlannedRun, str, str]]:
    """Return every run, how far it is, and what there is to say of it."""
    return [
        (run, *run_status(run, force=request.force)) for run in _planned_alone(request)
    ]


def compare(
    request: CompareRequest,
    *,
    shard: str | None = None,
    launcher: str = "none",
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> list[Outcome]:
    """Train what is not done of a comparison; return what became of every run.

    Args:
        shard: ``i/n``: do only this part.
        launcher: ``none``, ``pytorch`` or ``slurm``: divide the runs over the processes
            that it started. Each run is one process's.
        verbose: let mmengine print what it writes into the runs' logs.
        say: takes a line for the user.

    Raises:
        UsageError, DatasetError: before anything is trained.
        StoppedBySignal: on SIGINT or SIGTERM, with the state saved.
    """
    share = share_of(shard, launcher)
    with stop_on_signals():
        runs = _planned_alone(request)
        worker = _Worker(request, runs, share, verbose=verbose, say=say)
        with _garbage_frozen():
            outcomes = worker.outcomes()
        return merged(gathered(outcomes, launcher))


def merged(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return one outcome a run, where several processes have looked at it."""
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        former = best.setdefault(outcome.name, outcome)
        if BY_WEIGHT.index(outcome.status) > BY_WEIGHT.index(former.status):
            best[outcome.name] = outcome
    return list(best.values())


class _Worker:
    """One process and its share of a comparison."""

    def __init__(
        self,
        request: CompareRequest,
        runs: Sequence[PlannedRun],
        share: Share,
        *,
        verbose: bool,
        say: Callable[[str], None],
    ):
        self.request, self.verbose, self.say = request, verbose, say
        self.runs = share.order(runs)
        self.own = {run.name for run in replace(share, helps=False).order(runs)}
        self.processes = share.count if share.helps else 1
        self._seconds: dict[Path, float] = {}  # of the finished runs

    def outcomes(self) -> list[Outcome]:
        return [
            self._outcome(run, f"[{number}/{len(self.runs)}] {run.name}")
            for number, run in enumerate(self.runs, 1)
        ]

    def _outcome(self, run: PlannedRun, title: str) -> Outcome:
        with locked(_lock(self.request, run.name)) as mine:
            if not mine:
                return Outcome(run.name, ELSEWHERE)
            if run.name not in self.own and (run.work_dir / ERROR_FILE).exists():
                # It has failed elsewhere, or is for its own process to try again.
                return Outcome(run.name, ELSEWHERE)
            status, note = run_status(run, force=self.request.force)
            if status == DIFFERS:
                self.say(f"{title}: left as it is: {note}")
            if status in (DIFFERS, DONE):
                return Outcome(run.name, status, note)
            return self._complete(run, title, status, note)

    def _complete(self, run: PlannedRun, title: str, status: str, note: str) -> Outcome:
        """Train a run where it is not finished, and publish it."""
        if status != FINISHED:
            what = f"resumes {note}" if status == STOPPED else "starts"
            self.say(f"{title}: {what}{self._time_left(run)}")
        error_file = run.work_dir / ERROR_FILE
        error_file.unlink(missing_ok=True)
        try:
            if status != FINISHED:
                self._train(run, resume=status == STOPPED)
            publish(run.work_dir, run.target)
            # Three times the size of the checkpoint, and of no more use.
            for state in training_states(run.work_dir):
                state.unlink()
        except Interrupted:
            raise
        # Whatever is wrong with one run, the others go on.
        except Exception as error:
            run.work_dir.mkdir(parents=True, exist_ok=True)
            error_file.write_text(traceback.format_exc(), encoding="utf-8")
            message = f"{type(error).__name__}: {error}"
            self.say(f"{title}: failed: {message.splitlines()[0]} ({error_file})")
            return Outcome(run.name, FAILED, message)
        results = read_results(run.target)
        score, took = results["metrics"]["mIoU"], duration(results["run"]["wall_s"])
        self.say(f"{title}: done, mIoU {score:.2f} %, trained for {took}")
        return Outcome(run.name, DONE)

    def _train(self, run: PlannedRun, *, resume: bool) -> None:
        progress = ProgressHook(
            self.say, run.name, lambda share: self._time_left(run, share)
        )
        request = replace(
            run.request, resume=resume, force=not resume, hooks=[progress]
        )
        with nullcontext() if self.verbose else redirect_stdout(_Nowhere()):
            train(request)

    def _time_left(self, current: PlannedRun, share: float = 1.0) -> str:
        """Say how long all take if each takes as long as the finished ones."""
        for run in self.runs:
            if run.target not in self._seconds and run is not current:
                results = read_results(run.target)
                if results is not None and not results_difference(results, run):
                    self._seconds[run.target] = results["run"]["wall_s"]
        # A resumed run that had nothing to do took no time.
        took = [seconds for seconds in self._seconds.values() if seconds > 0]
        if not took:
            return ""
        left = len(self.runs) - len(self._seconds) - 1 + share
        seconds = statistics.mean(took) * left / self.processes
        return f"; about {duration(seconds)} left of all"


def _planned_alone(request: CompareRequest) -> list[PlannedRun]:
    """Plan while no other process does: the first one draws synthetic data."""
    with locked(_lock(request, "data"), wait=True):
        return plan_runs(request)


class _Nowhere(io.TextIOBase):
    """Takes what mmengine prints; its log files hold the same."""

    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _garbage_frozen() -> Iterator[None]:
    """Spare all that is there before the first run the garbage collections after it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _lock(request: CompareRequest, name: str) -> Path:
    return Path(request.work_dirs) / ".locks" / name
