"""Train, and be killed at random moments; run by test_training_killed.py.

Usage: python killed_training.py OUT KILLS SEED CONFIG. A tiny state is on the disk in a
millisecond, which no kill would strike: states are written in pieces here, with a pause
after each, as a busy disk would.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from killing import forked, kill_at_random_moments
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


def attempt(place: Path) -> int:
    LocalBackend.put = put_slowly
    request = TrainRequest(
        sys.argv[4], options=OPTIONS, work_dir=str(place), resume=True, amp=False
    )
    return forked(place.with_suffix(".log"), lambda: train(request) and 0)


def look(place: Path) -> str:
    """Read every state, and tell whether one was being written."""
    for state in training_states(place):
        load_tensors(state)  # raises, if one cannot be read
    return "in a file" if list(place.glob(".*.part")) else "elsewhere"


if __name__ == "__main__":
    sys.exit(kill_at_random_moments(attempt, look))
