"""Compare, and be killed at random moments; run by test_compare_killed.py.

Usage: python killed_compare.py OUT KILLS SEED CONFIG...
"""

from __future__ import annotations

import sys
from pathlib import Path

from killing import forked, kill_at_random_moments

from leuko_mm.comparison.plan import CompareRequest
from leuko_mm.comparison.runner import compare

OPTIONS = {
    "train_cfg.max_iters": 6,
    "default_hooks.checkpoint.interval": 1,
    "default_hooks.logger.interval": 1,
    "custom_hooks.1.iters": 3,
}


def attempt(place: Path) -> int:
    request = CompareRequest(
        protocol="smoke",
        methods=sys.argv[4:],
        settings=["own"],
        amp=False,
        options=OPTIONS,
        out=str(place / "results"),
        work_dirs=str(place / "runs"),
    )

    def job() -> int:
        outcomes = compare(request, say=lambda line: print(line, flush=True))
        return int(any(outcome.status != "done" for outcome in outcomes))

    return forked(place.with_suffix(".log"), job)


if __name__ == "__main__":
    sys.exit(kill_at_random_moments(attempt))
