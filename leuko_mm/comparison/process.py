"""A run of a comparison in a process of its own, started here or by a worker of dask.

A training needs the main thread, and leaves its scope, loggers and workers in the
globals of mmengine and torch. This module imports neither: it is what a worker holds.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.processes import python_module

FAILED, STOPPED = "failed", "stopped"
# Begins the line in which a run's process says what became of it.
OUTCOME = "\x1eoutcome "


@dataclass(frozen=True)
class Outcome:
    """What became of a run, what the user needs to know of it, seconds of training."""

    name: str
    status: str
    note: str = ""
    seconds: float = 0.0


def run_in_process(
    order: Mapping,
    say: Callable[[str], None],
    *,
    wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Complete a run in a process of its own; return what became of it.

    If this process ends, however it ends, the other one saves its state and ends too.

    Args:
        order: plain values of the run: ``request``, ``title``, ``verbose``, ``folder``
            and ``environment``.
        say: takes a line for the user.
        wanted: is asked once a second; where it says no, the run is stopped.
    """
    environment = {k: v for k, v in os.environ.items() if k != "LEUKO_MM_DATA"}
    environment |= order["environment"]
    with subprocess.Popen(
        python_module("leuko_mm.comparison.runner"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=order["folder"],
        env=environment,
        # Ctrl-C is for this process alone, which passes it on.
        start_new_session=True,
    ) as child:
        ended, outcome = threading.Event(), None

        def stop_unwanted() -> None:
            while not ended.wait(1.0):
                if not wanted():
                    return child.terminate()

        threading.Thread(target=stop_unwanted, daemon=True).start()
        try:
            print(repr(order), file=child.stdin, flush=True)
            for line in child.stdout:
                if line.startswith(OUTCOME):
                    outcome = Outcome(*json.loads(line.removeprefix(OUTCOME)))
                else:
                    say(line.rstrip("\n"))
        except BaseException:
            child.terminate()
            child.wait()
            raise
        finally:
            ended.set()
    if outcome is None:
        code, name = child.returncode, order["title"].split()[-1]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        status = STOPPED if -code == signal.SIGTERM else FAILED
        outcome = Outcome(name, status, f"its process ended {how}")
    return outcome


def from_line(line: str) -> Mapping:
    """Return the order that a line is the text of; ``inf`` and ``nan`` are numbers."""
    tree = _NamedNumbers().visit(ast.parse(line, mode="eval"))
    return ast.literal_eval(tree)


class _NamedNumbers(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Constant:
        return ast.Constant(float(node.id))


def run_at_worker(order: Mapping, topic: str) -> Outcome:
    """Complete a run as a task of dask.

    Raises:
        UsageError: if this worker does not see the folder of the comparison.
        distributed.Reschedule: if the run was stopped, as at the end of a job's time.
    """
    from distributed import Reschedule, get_worker

    folder, host = Path(order["folder"]), socket.gethostname()
    if not folder.is_dir():
        raise UsageError(
            f"the dask worker at {host} does not see {folder}; all workers need the "
            "folders of the comparison under the same paths"
        )
    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        # Cancelled where the client has stopped, or is gone.
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    outcome = run_in_process(order, partial(worker.log_event, topic), wanted=wanted)
    if outcome.status == STOPPED:
        raise Reschedule
    return outcome
