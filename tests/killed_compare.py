"""Compare, and be killed at random moments; run by test_compare_killed.py.

Usage: python killed_compare.py OUT KILLS SEED CONFIG... The process imports everything
once, then forks a child for every attempt. It prints one line a kill. OUT/whole holds
an undisturbed comparison, OUT/killed-1 and so on those that were killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from leuko_mm.comparison.plan import CompareRequest
from leuko_mm.comparison.runner import compare
from leuko_mm.training import results

OPTIONS = {
    "train_cfg.max_iters": 6,
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.logger.interval": 1,
    "custom_hooks.1.iters": 3,
}


def attempt(place: Path, configs: list[str], *, log: Path) -> int:
    """Start a comparison in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # The code may be committed while it is tested.
    results.git_state = lambda: "here"
    code = 1
    try:
        outcomes = compare(
            CompareRequest(
                protocol="smoke",
                methods=configs,
                settings=["own"],
                amp=False,
                options=OPTIONS,
                out=str(place / "results"),
                work_dirs=str(place / "runs"),
            ),
            say=lambda line: print(line, flush=True),
        )
        code = int(any(outcome.status != "done" for outcome in outcomes))
    finally:
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


def main() -> int:
    """Run one comparison whole, then others with kills until there were enough."""
    out, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    configs, chance, killed, number = sys.argv[4:], random.Random(seed), 0, 0
    began = time.monotonic()
    whole = attempt(out / "whole", configs, log=out / "whole.log")
    if ended(whole, within=3600) != 0:
        return 1
    took = time.monotonic() - began
    print(f"undisturbed: {took:.1f} s", flush=True)
    while killed < kills:
        number += 1
        place, log = out / f"killed-{number}", out / f"killed-{number}.log"
        while True:
            child = attempt(place, configs, log=log)
            delay = chance.uniform(0, took) if killed < kills else 3600
            status = ended(child, within=delay)
            if status is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                killed += 1
                print(f"kill {killed} after {delay:.2f} s in {place.name}", flush=True)
            elif status:
                return 1
            else:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
