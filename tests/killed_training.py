"""Train, and be killed at random moments; run by test_training_killed.py.

Usage: python killed_training.py OUT KILLS SEED CONFIG. The process imports everything
once, then forks a child for every attempt; each goes on from what the one before left.
A tiny state is on the disk in a millisecond, which no kill would strike: states are
written in pieces here, with a pause after each, as a busy disk would.
OUT/whole holds an undisturbed training, OUT/killed-1 and so on those that were killed,
a new one whenever one ends. A line is printed for every kill, and how many of them left
a file that was being written.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from killed_compare import ended
from mmengine.fileio.backends import LocalBackend

from leuko_mm.engine.checkpoints import load_tensors, training_states
from leuko_mm.training.run import TrainRequest, train

OPTIONS = {
    "train_cfg.max_iters": 12,
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.logger.interval": 1,
    "custom_hooks.1.iters": 4,
}
PIECES, PAUSE = 8, 0.05  # of a state, and seconds after each of them


def put_slowly(self, obj: bytes, filepath: str) -> None:
    """Write as mmengine's backend does, but in pieces that take a while."""
    with open(filepath, "wb") as file:
        for start in range(0, len(obj), max(1, len(obj) // PIECES)):
            file.write(obj[start : start + max(1, len(obj) // PIECES)])
            file.flush()
            time.sleep(PAUSE)


def attempt(place: Path, config: str) -> int:
    """Train, or go on with it, in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    with open(place.with_suffix(".log"), "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    LocalBackend.put = put_slowly
    try:
        request = TrainRequest(
            config, options=OPTIONS, work_dir=str(place), resume=True, amp=False
        )
        train(request)
        code = 0
    finally:
        os._exit(code)


def main() -> int:
    """Train once whole, then again and again with kills until there were enough."""
    out, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    config, chance, killed, number, writing = sys.argv[4], random.Random(seed), 0, 0, 0
    began = time.monotonic()
    if ended(attempt(out / "whole", config), within=3600) != 0:
        return 1
    took = time.monotonic() - began
    print(f"undisturbed: {took:.1f} s", flush=True)
    while killed < kills:
        number += 1
        place = out / f"killed-{number}"
        while True:
            child = attempt(place, config)
            delay = chance.uniform(0, took) if killed < kills else 3600
            status = ended(child, within=delay)
            if status is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                killed += 1
                half = list(place.glob(".*.part"))
                writing += bool(half)
                for state in training_states(place):
                    load_tensors(state)  # raises, if one cannot be read
                states = [state.name for state in training_states(place)]
                print(f"kill {killed} after {delay:.2f} s: {states}", flush=True)
            elif status:
                return 1
            else:
                break
    print(f"{killed} kills in {number} trainings, {writing} of them in a file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
