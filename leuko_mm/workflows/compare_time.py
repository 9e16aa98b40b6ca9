"""How long the rest of a comparison takes, from what is done of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from mmengine.config import Config

from leuko_mm.workflows.compare_matrix import PlannedRun
from leuko_mm.workflows.model_size import model_size

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
