"""Train every run of a comparison that is not done yet, and publish its results.

Each run is a process of its own, which is this module run as a program.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, redirect_stdout, suppress
from dataclasses import asdict, astuple, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from mmengine.hooks import Hook

from leuko_mm.comparison.plan import (
    CompareRequest,
    PlannedRun,
    plan_runs,
    replaced_losses,
)
from leuko_mm.comparison.process import (
    FAILED,
    OUTCOME,
    STOPPED,
    Outcome,
    from_line,
    run_at_worker,
    run_in_process,
)
from leuko_mm.comparison.results import (
    RESULTS_FILE,
    cells_beside,
    publish,
    read_results,
)
from leuko_mm.engine.checkpoints import newest_state, training_states
from leuko_mm.engine.hooks import Interrupted, read_identity
from leuko_mm.files import locked
from leuko_mm.processes import dask_client, finished_tasks, stopped_by_signals
from leuko_mm.progress import duration
from leuko_mm.training.config import is_of_config
from leuko_mm.training.custom_imports import IMPORTED
from leuko_mm.training.preflight import check_writable
from leuko_mm.training.run import train

# How far a run is, and what became of it.
DONE, FINISHED, DIFFERS, WAITING = (
    "done",
    "finished, not published",
    "differs",
    "waiting",
)
ERROR_FILE = "error.txt"
PROGRESS_S = 60.0
STOPPED_ADVICE = (
    "what is done is published and the state of the runs is saved: give the same "
    "command again to go on"
)


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
        if not difference and zipfile.is_zipfile(cells_beside(run.target)):
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
        split_sha256=results.get("data", {}).get("split_sha256"),
    )
    difference = identity_difference(identity, run)
    amp = bool(run.config.optim_wrapper.get("enabled", False))
    if difference and of_run.get("amp", amp) != amp:
        words = "without bfloat16: --no-amp" if amp else "with bfloat16: --amp"
        difference += f"; it was made {words} asks for the same"
    before, now = of_run.get("imported", {}), run.config.get(IMPORTED, {})
    changed = [f for f in sorted({*before, *now}) if before.get(f) != now.get(f)]
    if difference and changed:
        difference += f"; changed since: {', '.join(changed)}"
    return difference


def identity_difference(identity: Mapping, run: PlannedRun) -> str | None:
    """Return in what an identity differs from that of a planned run.

    ``identity`` holds the sha256 of config, dataset and split; what is missing differs,
    but for the split, which former versions did not note.
    """
    found = [
        f"{key.removesuffix('_sha256')} ({str(identity.get(key))[:12]}, now "
        f"{value[:12]})"
        for key, value in run.identity.items()
        if identity.get(key) != value
        and not (key == "split_sha256" and identity.get(key) is None)
        and not (key == "config_sha256" and is_of_config(identity.get(key), run.config))
    ]
    return f"has another {' and another '.join(found)}" if found else None


class ProgressHook(Hook):
    """Say once a minute how far a training is."""

    def __init__(self, say: Callable[[str], None], name: str):
        self.say, self.name, self._said = say, name, time.monotonic()

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Print a line, if the last one is a minute old."""
        if time.monotonic() - self._said >= PROGRESS_S:
            self._said = time.monotonic()
            done, total = runner.iter + 1, runner.max_iters
            self.say(f"    {self.name}: iteration {done} of {total}")


def survey(request: CompareRequest) -> list[tuple[PlannedRun, str, str]]:
    """Return every run, how far it is, and what there is to say of it."""
    return [
        (run, *run_status(run, force=request.force)) for run in _planned_alone(request)
    ]


def compare(
    request: CompareRequest,
    *,
    dask: str | None = None,
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> list[Outcome]:
    """Train what is not done of a comparison; return what became of every run.

    Args:
        dask: see ``dask_client``; its workers must see the same folders.
        verbose: write on standard error what mmengine writes into the runs' logs.
        say: takes a line for the user.

    Raises:
        UsageError, DatasetError: before anything is trained.
        StoppedBySignal: on SIGINT or SIGTERM, with the states saved.
    """
    with stopped_by_signals(STOPPED_ADVICE), dask_client(dask) as client:
        outcomes, orders, took = {}, {}, []
        runs = survey(request)
        for line in replaced_losses(run for run, *_ in runs):
            say(line)
        for number, (run, status, note) in enumerate(runs, 1):
            title = f"[{number}/{len(runs)}] {run.name}"
            outcomes[run.name] = Outcome(run.name, status, note)
            if status == DIFFERS:
                say(f"{title}: left as it is: {note}")
            elif status != DONE:
                check_writable(run.target.parent, "--out")
                orders[run.name] = _order(request, run, title, verbose)
        if client is None:
            done = ((name, run_in_process(x, say)) for name, x in orders.items())
        else:
            topic = f"leuko-compare-{os.getpid()}-{time.time_ns()}"
            client.subscribe_topic(topic, lambda event: say(event[1]))
            tasks = {name: (order, topic) for name, order in orders.items()}
            done = finished_tasks(client, run_at_worker, tasks)
        try:
            with closing(done):
                for number, (name, outcome) in enumerate(done, 1):
                    if isinstance(outcome, Exception):
                        outcome = Outcome(name, FAILED, str(outcome))
                    outcomes[name] = outcome
                    # A resumed run that had nothing to do took no time.
                    took += [outcome.seconds] * (outcome.seconds > 0)
                    at_once = sum(client.nthreads().values()) if client else 1
                    left = _time_left(took, len(orders) - number, at_once)
                    note = outcome.note.partition("\n")[0]
                    say(f"{orders[name]['title']}: {outcome.status}: {note}{left}")
        except KeyboardInterrupt:
            # The runs are stopping: where the lock is free, the state is saved.
            for name in orders if client else ():
                with locked(_lock(request, name), wait=True):
                    pass
            raise
        return list(outcomes.values())


def _time_left(took: Sequence[float], left: int, at_once: int) -> str:
    """Say how long the others take if each takes as long as the finished ones."""
    if not took or not left:
        return ""
    seconds = statistics.mean(took) * left / (at_once or 1)
    return f"; about {duration(seconds)} left of all"


def _order(request: CompareRequest, run: PlannedRun, title: str, verbose: bool) -> dict:
    """Return what a run's process needs to know, in plain values."""
    return dict(
        request=asdict(request.alone(run)),
        title=title,
        verbose=verbose,
        folder=os.getcwd(),
        environment={k: v for k, v in os.environ.items() if k == "LEUKO_MM_DATA"},
    )


def main() -> int:
    """Complete the run whose order is on standard input, and print its outcome."""
    order = from_line(sys.stdin.readline())
    threading.Thread(target=_stop_without_parent, daemon=True).start()
    say = partial(_say, sys.stdout)
    say(OUTCOME + json.dumps(astuple(_completed(order, say))))
    return 0


def _say(stream: TextIO, line: str) -> None:
    with suppress(OSError):  # nobody reads any more; the state is saved all the same
        print(line, file=stream, flush=True)


def _stop_without_parent() -> None:
    # Nothing more is written there: the read ends with the process that started this.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _completed(order: Mapping, say: Callable[[str], None]) -> Outcome:
    """Train a run where it is not finished, and publish it."""
    request = CompareRequest(**order["request"])
    (run,) = _planned_alone(request)
    # Another process that trains it, or still saves its state, is waited for.
    with locked(_lock(request, run.name), wait=True):
        status, note = run_status(run, force=request.force)
        if status in (DIFFERS, DONE):
            return Outcome(run.name, status, note)
        error_file = run.work_dir / ERROR_FILE
        error_file.unlink(missing_ok=True)
        try:
            if status != FINISHED:
                goes_on = status == STOPPED
                say(f"{order['title']}: {f'resumes {note}' if goes_on else 'starts'}")
                hooks = [ProgressHook(say, run.name)]
                training = replace(
                    run.request, resume=goes_on, force=not goes_on, hooks=hooks
                )
                # What mmengine prints is in its log file, too.
                with (
                    open(os.devnull, "w") as nowhere,
                    redirect_stdout(sys.stderr if order["verbose"] else nowhere),
                ):
                    train(training)
            publish(run.work_dir, run.target)
            # Three times the size of the checkpoint, and of no more use.
            for state in training_states(run.work_dir):
                state.unlink()
        except Interrupted:
            return Outcome(run.name, STOPPED, f"its state is saved in {run.work_dir}")
        # Whatever is wrong with one run, the others go on.
        except Exception as error:
            run.work_dir.mkdir(parents=True, exist_ok=True)
            error_file.write_text(traceback.format_exc(), encoding="utf-8")
            message, *more = f"{type(error).__name__}: {error}".splitlines()
            note = "\n".join([f"{message} ({error_file})", *more])
            return Outcome(run.name, FAILED, note)
    results = read_results(run.target)
    score, seconds = results["metrics"]["mIoU"], results["run"]["wall_s"]
    note = f"mIoU {score:.2f} %, trained for {duration(seconds)}"
    return Outcome(run.name, DONE, note, seconds)


def _planned_alone(request: CompareRequest) -> list[PlannedRun]:
    """Plan while no other process does: the first one draws synthetic data."""
    with locked(_lock(request, "data"), wait=True):
        return plan_runs(request)


def _lock(request: CompareRequest, name: str) -> Path:
    return Path(request.work_dirs) / ".locks" / name


if __name__ == "__main__":
    sys.exit(main())
