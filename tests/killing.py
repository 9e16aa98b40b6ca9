"""Forked processes, and kills at random moments; used by the killed_*.py scripts."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path


def forked(log: Path, job: Callable[[], int | None]) -> int:
    """Run a job in a process of its own, its output in a log; return its id."""
    child = os.fork()
    if child:
        return child
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        code = job() or 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, *, within: float) -> int | None:
    """Return the exit status if the child ends in time, else None."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def kill_at_random_moments(
    attempt: Callable[[Path], int], look: Callable[[Path], object] = lambda place: ""
) -> int:
    """Run one attempt whole, then others with kills until there were enough.

    The arguments of the script are OUT KILLS SEED. OUT/whole holds the undisturbed
    attempt, OUT/killed-1 and so on those that were killed, a new one whenever one ends.
    ``attempt`` starts a process that writes into a folder, or resumes there; its id is
    returned. A line is printed for every kill, with what ``look`` returns.
    """
    out, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3])
    killed, number, began = 0, 0, time.monotonic()
    if ended(attempt(out / "whole"), within=3600) != 0:
        return 1
    took = time.monotonic() - began
    while killed < kills:
        number += 1
        place, status = out / f"killed-{number}", None
        while status is None:
            child = attempt(place)
            delay = chance.uniform(0, took) if killed < kills else 3600
            status = ended(child, within=delay)
            if status is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                killed += 1
                print(f"kill {killed} in {place.name}: {look(place)}", flush=True)
        if status:
            return status
    return 0
