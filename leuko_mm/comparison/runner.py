"""Train every run of a comparison that is not there yet, and publish its results."""

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

from mmengine.config import Config
from mmengine.hooks import Hook

from leuko_mm.comparison.plan import CompareRequest, PlannedRun, plan_runs
from leuko_mm.comparison.run_files import (
    DIFFERS,
    DONE,
    FINISHED,
    STOPPED,
    look_at,
    misfit,
    publish,
    read_results,
)
from leuko_mm.engine.checkpoints import training_states
from leuko_mm.engine.hooks import Interrupted
from leuko_mm.files import locked
from leuko_mm.models.size import model_size
from leuko_mm.processes import Share, gathered, one_order_to_stop, share_of
from leuko_mm.progress import duration
from leuko_mm.training.run import train

# Counting a network's multiply-adds takes a second or two: it is for longer runs.
WORTH_COUNTING_S = 20.0


class Pace:
    """Seconds a multiply-add of training, learnt from finished runs.

    A run's time grows with its iterations, its batch and the multiply-adds of an image,
    which its results file tells. The multiply-adds of a network that has no results
    yet are counted where runs are long, and else taken to be those of the others.

    Args:
        count: returns the multiply-adds of a config's network, in 10^9.
    """

    def __init__(self, count: Callable[[Config], float] | None = None):
        self._count = count or count_gmacs
        self._gmacs: dict[str, float] = {}
        self._seconds: list[float] = []
        self._work: list[float] = []

    def learn(self, run: PlannedRun, results: Mapping) -> None:
        """Take in a finished run."""
        gmacs, wall_s = results["model"]["gmacs"], results["run"]["wall_s"]
        self._gmacs[run.request.config] = gmacs
        if wall_s > 0:
            self._seconds.append(wall_s)
            self._work.append(gmacs * _samples(run))

    def seconds(self, runs: Sequence[PlannedRun]) -> float | None:
        """Return how long runs take one after the other, None before any is done."""
        if not self._seconds:
            return None
        rate = sum(self._seconds) / max(sum(self._work), 1e-12)
        return sum(self._gmacs_of(run) * _samples(run) for run in runs) * rate

    def _gmacs_of(self, run: PlannedRun) -> float:
        name = run.request.config
        if name not in self._gmacs:
            if statistics.mean(self._seconds) < WORTH_COUNTING_S:
                return statistics.mean(self._gmacs.values())
            self._gmacs[name] = self._count(run.config)
        return self._gmacs[name]


def _samples(run: PlannedRun) -> int:
    return run.iterations * run.config.train_dataloader["batch_size"]


def count_gmacs(config: Config) -> float:
    """Return the multiply-adds of a config's network for one test image, in 10^9."""
    size = config.test_dataloader.dataset.get("size", 256)
    return model_size(config, size)["gmacs"]


FAILED, ELSEWHERE = "failed", "left to another process"
# What counts where several processes have looked at one run.
WEIGHT = {ELSEWHERE: 0, DIFFERS: 1, FAILED: 2, DONE: 3}
ERROR_FILE = "error.txt"
PROGRESS_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Args:
        name: of the run.
        status: ``done``, ``differs``, ``failed`` or ``left to another process``.
        note: what the user needs to know of it.
    """

    name: str
    status: str
    note: str = ""


class ProgressHook(Hook):
    """Say once a minute how far a training is.

    Args:
        say: takes a line.
        name: of the run.
        left: takes the part of this run that is left, returns words on the time left.
    """

    def __init__(
        self, say: Callable[[str], None], name: str, left: Callable[[float], str]
    ):
        self.say, self.name, self.left = say, name, left
        self._said = time.monotonic()

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Say it, if the last time is a minute ago."""
        if time.monotonic() - self._said < PROGRESS_S:
            return
        self._said = time.monotonic()
        done, total = runner.iter + 1, runner.max_iters
        words = self.left(1 - done / total)
        self.say(f"    {self.name}: iteration {done} of {total}{words}")


def survey(request: CompareRequest) -> list[tuple[PlannedRun, str, str]]:
    """Return every run of a comparison, how far it is, and what there is to say of it.

    Raises:
        UsageError, DatasetError: if the runs cannot be told.
    """
    # Synthetic data is drawn by the first process alone.
    with locked(_lock(request, "data"), wait=True):
        runs = plan_runs(request)
    return [(run, *look_at(run, force=request.force)) for run in runs]


def compare(
    request: CompareRequest,
    *,
    shard: str | None = None,
    launcher: str = "none",
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> list[Outcome]:
    """Do what is not done of a comparison; return what became of every run.

    Args:
        request: which runs.
        shard: ``i/n``: do only this part.
        launcher: ``none``, ``pytorch`` or ``slurm``: divide the runs over the processes
            that it started. Each run is one process's.
        verbose: let mmengine print what it writes into the runs' logs.
        say: takes a line for the user.

    Raises:
        UsageError, DatasetError: before anything is trained.
        ComparisonStopped: on SIGINT or SIGTERM, with the state saved.
    """
    share = share_of(shard, launcher)
    with one_order_to_stop():
        with locked(_lock(request, "data"), wait=True):
            runs = plan_runs(request)
        part = _Part(request, runs, share, verbose=verbose, say=say)
        with _modules_at_rest():
            outcomes = part.outcomes()
        return merged(gathered(outcomes, launcher))


def merged(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return one outcome a run, where several processes have looked at it."""
    best: dict[str, Outcome] = {}
    for outcome in outcomes:
        former = best.setdefault(outcome.name, outcome)
        if WEIGHT[outcome.status] > WEIGHT[former.status]:
            best[outcome.name] = outcome
    return list(best.values())


class _Part:
    """What one process does of a comparison."""

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
        self.pace = Pace()
        self._learnt: set[Path] = set()

    def outcomes(self) -> list[Outcome]:
        return [
            self._outcome(run, f"[{number}/{len(self.runs)}] {run.name}")
            for number, run in enumerate(self.runs, 1)
        ]

    def _outcome(self, run: PlannedRun, title: str) -> Outcome:
        helping = run.name not in self.own
        with locked(_lock(self.request, run.name)) as mine:
            if not mine:
                return Outcome(run.name, ELSEWHERE)
            status, note = look_at(run, force=self.request.force)
            if helping and (run.work_dir / ERROR_FILE).exists():
                # It has failed elsewhere, or is for its own process to try again.
                return Outcome(run.name, ELSEWHERE)
            if status == DIFFERS:
                self.say(f"{title}: left as it is: {note}")
            if status in (DIFFERS, DONE):
                return Outcome(run.name, status, note)
            return self._done(run, title, status, note)

    def _done(self, run: PlannedRun, title: str, status: str, note: str) -> Outcome:
        if status != FINISHED:
            begins = f"goes on {note}" if status == STOPPED else "begins"
            self.say(f"{title}: {begins}{self._left(run)}")
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
            said = f"{type(error).__name__}: {error}"
            self.say(f"{title}: failed: {said.splitlines()[0]} ({error_file})")
            return Outcome(run.name, FAILED, said)
        results = read_results(run.target)
        score, took = results["metrics"]["mIoU"], duration(results["run"]["wall_s"])
        self.say(f"{title}: done, mIoU {score:.2f} %, trained for {took}")
        return Outcome(run.name, DONE)

    def _train(self, run: PlannedRun, *, resume: bool) -> None:
        progress = ProgressHook(
            self.say, run.name, lambda part: self._left(run, part=part)
        )
        quiet = nullcontext() if self.verbose else redirect_stdout(_Nowhere())
        with quiet:
            train(
                replace(run.request, resume=resume, force=not resume, hooks=[progress])
            )

    def _left(self, current: PlannedRun, part: float = 1.0) -> str:
        """Say the time left of all runs, given the part that is left of the current."""
        waiting = []
        for run in self.runs:
            if run.target not in self._learnt:
                results = read_results(run.target)
                if results is None or misfit(results, run):
                    waiting.append(run)
                    continue
                self._learnt.add(run.target)
                self.pace.learn(run, results)
        rest = self.pace.seconds([run for run in waiting if run is not current])
        if rest is None:
            return ""
        seconds = rest + part * self.pace.seconds([current])
        return f"; about {duration(seconds / self.processes)} left of all"


class _Nowhere(io.TextIOBase):
    """Takes what mmengine prints; its log files hold the same."""

    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _modules_at_rest() -> Iterator[None]:
    """Spare what is there before the first run the search for garbage after each."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _lock(request: CompareRequest, name: str) -> Path:
    return Path(request.work_dirs) / ".locks" / name
