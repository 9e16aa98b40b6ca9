"""A figure and the ends of its interval, as tables and plots show them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A figure with the ends of its interval; None where there is none.

    Args:
        value: in the unit of its column or axis.
        low, high: ends of the interval.
        digits: behind the point.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 2
