"""The differential count: how many cells of each class, in percent, and how sure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from leuko_mm.inference.prediction import Prediction


@dataclass(frozen=True)
class DifferentialRow:
    """One class of a differential count.

    Args:
        name: of the class.
        count: cells.
        percent: of all cells; 0 where there are none.
        low, high: ends of the Wilson interval, in percent; 0 and 100 without cells.
    """

    name: str
    count: int
    percent: float
    low: float
    high: float


def differential(
    predictions: Iterable[Prediction], *, border: bool = True, level: float = 0.95
) -> tuple[DifferentialRow, ...]:
    """Return the differential count over the cells of many predictions.

    Args:
        predictions: of one model; each is looked at once and not kept.
        border: whether cells that touch a border of their image count.
        level: of the intervals, between 0 and 1.

    Returns:
        One row a class, in the order of the model's classes; none of no prediction.

    Raises:
        ValueError: if the predictions have different classes.
    """
    counts: Counter[str] = Counter()
    classes: tuple[str, ...] | None = None
    for prediction in predictions:
        if classes is not None and prediction.classes != classes:
            raise ValueError(
                f"predictions of the classes {prediction.classes} and of {classes}; "
                "expected those of one model"
            )
        classes = prediction.classes
        counts.update(dict.fromkeys(prediction.counts, 0))
        counts.update(
            classes[cell.class_id]
            for cell in prediction.cells
            if border or not cell.touches_border
        )
    return differential_of_counts(counts, level=level)


def differential_of_counts(
    counts: Mapping[str, int], *, level: float = 0.95
) -> tuple[DifferentialRow, ...]:
    """Return the differential count of cells that were counted already.

    Args:
        counts: cells by name of the class.
        level: of the intervals, between 0 and 1.

    Example:
        >>> row = differential_of_counts({"monocyte": 2, "neutrophil": 8})[0]
        >>> row.name, row.percent, round(row.low, 1), round(row.high, 1)
        ('monocyte', 20.0, 5.7, 51.0)
    """
    total = sum(counts.values())
    rows = []
    for name, count in counts.items():
        low, high = wilson_interval(count, total, level=level)
        percent = 100.0 * count / total if total else 0.0
        rows.append(DifferentialRow(name, count, percent, 100 * low, 100 * high))
    return tuple(rows)


def wilson_interval(
    count: int, total: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Unlike the usual p +- 1.96 s it stays within 0 and 1 and is not empty at 0 of n.

    Args:
        count: successes.
        total: trials; 0 gives (0, 1).
        level: probability that such an interval covers the truth.

    Raises:
        ValueError: if the count is not from 0 to the total, or the level not
            between 0 and 1.

    Reference:
        Wilson, J. Am. Stat. Assoc. 22 (1927). Differs: nothing.

    Example:
        >>> [round(end, 4) for end in wilson_interval(0, 10)]
        [0.0, 0.2775]
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} cells; expected 0 to {total}")
    if not 0 < level < 1:
        raise ValueError(f"level {level}; expected more than 0 and less than 1")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, square = count / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    spread = share * (1 - share) / total + square / (4 * total)
    half = z * math.sqrt(spread) / (1 + square)
    # At the ends the two terms are equal but for rounding.
    low = 0.0 if count == 0 else middle - half
    high = 1.0 if count == total else middle + half
    return low, high
