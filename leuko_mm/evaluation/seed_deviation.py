"""How much the figures of one recipe differ from training to training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SeedDeviation:
    """The standard deviation of one training, seen in trainings that differ in seed.

    Attributes:
        value: in the unit of the figures; NaN where nothing was trained twice.
        freedom: degrees of freedom: trainings, less one a test. With few of them the
            value is rough: its own relative standard error is about
            ``1 / sqrt(2 * freedom)`` for figures that are spread normally.
    """

    value: float
    freedom: int


def seed_deviation(figures: Iterable[Sequence[float]]) -> SeedDeviation:
    """Return the deviation within tests, pooled over them.

    How much tests differ from each other, as folds do, has no part in it.

    Args:
        figures: of every test, such as a fold, the figures of its trainings.

    Example:
        >>> seed_deviation([[80.0, 82.0], [90.0, 90.0], [70.0]])
        SeedDeviation(value=1.0, freedom=2)
    """
    squares, freedom = 0.0, 0
    for of_test in figures:
        mean = math.fsum(of_test) / max(1, len(of_test))
        squares += math.fsum((figure - mean) ** 2 for figure in of_test)
        freedom += max(0, len(of_test) - 1)
    return SeedDeviation(math.sqrt(squares / freedom) if freedom else math.nan, freedom)
