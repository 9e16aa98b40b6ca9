"""Figures of published results with their intervals, and differences between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leuko_mm.evaluation.boundary import boundary_statistics
from leuko_mm.evaluation.intervals import Interval, bootstrap_intervals, true_classes
from leuko_mm.evaluation.paired import Difference, holm, paired_difference
from leuko_mm.evaluation.same_cells import DifferentCellsError, same_cells
from leuko_mm.report.measured import Measured
from leuko_mm.workflows.pooled_results import Result

RESAMPLES, SEED = 2000, 0
OUTLINE = "boundary_f1"
OF_CLASS = ("precision", "recall", "iou", "f1")
# What the paper calls its method, then what comes nearest to it.
PAPER_METHOD = (
    ("cbam_unet", "B"),
    ("unet_vgg16", "all_three"),
    ("cbam_unet", "enhance_hsv"),
    ("cbam_unet", None),
    ("cbam_unet", "A"),
)


class Measurements:
    """Figures with intervals, each computed once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], dict[str, Interval]] = {}

    def of(self, result: Result, names: Sequence[str]) -> dict[str, Measured]:
        """Return figures of a result by name, see ``evaluation.statistic``.

        ``boundary_f1`` is there where the run has counted its outlines.
        """
        kept = self._kept.setdefault(tuple(run.file for run in result.runs), {})
        plain = [n for n in names if n not in kept and n != OUTLINE]
        how = dict(resamples=RESAMPLES, seed=SEED)
        if plain:
            kept |= bootstrap_intervals(result.confusion, result.groups, plain, **how)
        if OUTLINE in names and OUTLINE not in kept:
            kept[OUTLINE] = self._outline(result, how)
        return {name: measured(kept[name]) for name in names}

    @staticmethod
    def _outline(result: Result, how: Mapping) -> Interval:
        if result.boundary is None:
            return Interval(math.nan, math.nan, math.nan)
        wanted = {OUTLINE: boundary_statistics()[OUTLINE]}
        classes = true_classes(result.confusion)
        counts = result.boundary
        return bootstrap_intervals(
            counts, result.groups, wanted, classes=classes, **how
        )[OUTLINE]


@dataclass(frozen=True)
class Compared:
    """Two results on the same cells.

    Args:
        first, second: the results.
        differences: first minus second, by figure.
        corrected: their p values after Holm, by figure.
    """

    first: Result
    second: Result
    differences: Mapping[str, Difference]
    corrected: Mapping[str, float]


def differences_to(
    reference: Result, others: Sequence[Result], figures: Sequence[str]
) -> tuple[list[Compared], list[str]]:
    """Compare results with one on the same cells; p values are corrected together.

    Args:
        reference: what the others are compared with.
        others: of its family.
        figures: names of figures; each is a family of tests of its own.

    Returns:
        The comparisons, and a line on each result that was tested on other cells.
    """
    found, odd = [], []
    for other in others:
        try:
            one, two, groups = same_cells(_cells(other), _cells(reference))
        except DifferentCellsError as error:
            odd.append(f"{other.name}: {error}")
            continue
        pairs = {
            name: paired_difference(
                one, two, groups, name, resamples=RESAMPLES, seed=SEED
            )
            for name in figures
        }
        found.append((other, pairs))
    corrected = {
        name: holm([pairs[name].p for _, pairs in found]).tolist() for name in figures
    }
    return [
        Compared(
            other,
            reference,
            pairs,
            {name: corrected[name][number] for name in figures},
        )
        for number, (other, pairs) in enumerate(found)
    ], odd


def paper_method(results: Sequence[Result]) -> Result | None:
    """Return the CBAM U-Net nearest to the paper's among results, None without one."""
    for wanted in PAPER_METHOD:
        for result in results:
            if (result.method, result.variant) == wanted:
                return result
    return None


def measured(interval: Interval | Difference) -> Measured:
    """Return an interval as a table shows it; None where it is undefined.

    Ends that are the value itself are none: no resample differed, as where every cell
    is found, which does not mean that no cell could be missed.

    Example:
        >>> measured(Interval(100.0, 100.0, 100.0))
        Measured(value=100.0, low=None, high=None, digits=2)
        >>> measured(Interval(79.5, 70.0, float("nan")))
        Measured(value=79.5, low=70.0, high=None, digits=2)
    """
    if interval.low == interval.value == interval.high:
        return Measured(float(interval.value))
    ends = (interval.value, interval.low, interval.high)
    return Measured(*(None if math.isnan(end) else float(end) for end in ends))


def _cells(result: Result) -> tuple:
    return result.stems, result.groups, result.confusion
