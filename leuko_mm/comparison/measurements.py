"""Metrics of published results with intervals, comparisons, and what a result is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leuko_mm.comparison.results import PublishedRun, Result, named_links, single_folds
from leuko_mm.evaluation.boundary import boundary_statistics
from leuko_mm.evaluation.cell_scores import statistic
from leuko_mm.evaluation.statistics import (
    Difference,
    DifferentCellsError,
    Interval,
    bootstrap_intervals,
    holm,
    independent_difference,
    paired_difference,
    same_cells,
    true_classes,
)
from leuko_mm.report.html import Measured
from leuko_mm.report.run_page import FileLink

# In percent: the mean IoU is the one that the paper prints.
TARGETS = {"mIoU": 91.89, "pixel_accuracy": 99.0}
RESAMPLES, SEED = 2000, 0
COMPARED = ("mIoU", "pixel_accuracy")
OUTLINE = "boundary_f1"
OF_CLASS = ("precision", "recall", "iou", "f1")
# Metrics of the tables and their heads.
HEADS = {
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mIoU_fg": "mIoU without background",
    "right_class": "cells of the right class",
    "found": "cells found",
    OUTLINE: "boundary F1",
}
# What the paper calls its method, then what comes nearest to it.
PAPER_METHOD = (
    ("cbam_unet", "B"),
    ("unet_vgg16", "all_three"),
    ("cbam_unet", "enhance_hsv"),
    ("cbam_unet", None),
    ("cbam_unet", "A"),
)


class Metrics:
    """Metrics of results with 95 % intervals, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], dict[str, Interval]] = {}

    def of(self, result: Result, names: Iterable[str]) -> dict[str, Measured]:
        """Return metrics of a result by name, see ``evaluation.statistic``.

        ``boundary_f1`` is undefined where the run has not counted its outlines.
        """
        names = list(names)
        known = self._known.setdefault(tuple(run.file for run in result.runs), {})
        cells, how = result.cells, dict(resamples=RESAMPLES, seed=SEED)
        plain = [n for n in names if n not in known and n != OUTLINE]
        if plain:
            known |= bootstrap_intervals(cells.confusion, cells.group, plain, **how)
        if OUTLINE in names and OUTLINE not in known:
            if cells.boundary is None:
                known[OUTLINE] = Interval(math.nan, math.nan, math.nan)
            else:
                wanted = {OUTLINE: boundary_statistics()[OUTLINE]}
                how["classes"] = true_classes(cells.confusion)
                known |= bootstrap_intervals(cells.boundary, cells.group, wanted, **how)
        return {name: measured(known[name]) for name in names}

    def one(self, result: Result, name: str) -> Measured:
        """Return one metric of a result."""
        return self.of(result, [name])[name]

    def best_first(self, results: Iterable[Result]) -> list[Result]:
        """Sort results by their mean IoU."""
        return sorted(results, key=lambda result: -self.one(result, "mIoU").value)


def measured(interval: Interval | Difference) -> Measured:
    """Return an interval as a table shows it; None where it is undefined.

    Ends that are the value itself are none: no resample differed.
    """
    if interval.low == interval.value == interval.high:
        return Measured(float(interval.value))
    ends = (interval.value, interval.low, interval.high)
    return Measured(*(None if math.isnan(end) else float(end) for end in ends))


@dataclass(frozen=True)
class Compared:
    """A result minus a reference on the same cells; ``corrected`` are p after Holm."""

    result: Result
    reference: Result
    differences: Mapping[str, Difference]
    corrected: Mapping[str, float]


def differences_to(
    reference: Result, others: Iterable[Result]
) -> tuple[list[Compared], list[str]]:
    """Compare results with one on the same cells; p values are corrected together.

    Also returns a line on each result that was tested on other cells.
    """
    found, odd = [], []
    for other in others:
        try:
            one, two, groups = same_cells(_cells(other), _cells(reference))
        except DifferentCellsError as error:
            odd.append(f"{other.name}: {error}")
            continue
        how = dict(resamples=RESAMPLES, seed=SEED)
        pairs = {n: paired_difference(one, two, groups, n, **how) for n in COMPARED}
        found.append((other, pairs))
    corrected = {
        name: holm([pairs[name].p for _, pairs in found]).tolist() for name in COMPARED
    }
    return [
        Compared(other, reference, pairs, {n: corrected[n][i] for n in COMPARED})
        for i, (other, pairs) in enumerate(found)
    ], odd


def independent(first: Result, second: Result, name: str) -> Measured:
    """Return how much higher a metric is in the first result, on other cells."""
    sides = ((r.cells.confusion, r.cells.group) for r in (first, second))
    how = dict(resamples=RESAMPLES, seed=SEED)
    return measured(independent_difference(*sides, name, **how))


def _cells(result: Result) -> tuple:
    return result.cells.stem, result.cells.group, result.cells.confusion


def paper_method(results: Sequence[Result]) -> Result | None:
    """Return the CBAM U-Net nearest to the paper's among results, None without one."""
    for wanted in PAPER_METHOD:
        for result in results:
            if (result.method, result.variant) == wanted:
                return result
    return None


@dataclass(frozen=True)
class Trainings:
    """At least two results of one recipe and one test, by seed."""

    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        """The result of the lowest seed."""
        return self.results[0]

    @property
    def links(self) -> tuple[FileLink, ...]:
        """All results files."""
        return named_links(self.results)

    def values(self, name: str) -> list[float]:
        """Return a metric of every training, in percent."""
        metric = statistic(name)
        return [
            float(metric.value(metric.parts(result.cells.confusion).sum(axis=0)))
            for result in self.results
        ]


def first_trainings(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    """Leave out trainings of what is there with a lower seed, and their tests."""
    found = [(run, _training(run)) for run in runs]
    lowest: dict[tuple, int] = {}
    for run, key in found:
        lowest[key] = min(run.seed, lowest.get(key, run.seed))
    return [run for run, key in found if run.seed == lowest[key]]


def repeated(results: Sequence[Result]) -> list[Trainings]:
    """Return what was trained with several seeds, single folds and all five."""
    groups: dict[tuple, dict[int, Result]] = defaultdict(dict)
    for result in [*results, *single_folds(results)]:
        key = result.scope, *(_training(run) for run in result.runs)
        groups[key].setdefault(result.first.seed, result)
    return [
        Trainings(tuple(members[seed] for seed in sorted(members)))
        for members in groups.values()
        if len(members) > 1
    ]


def _training(run: PublishedRun) -> tuple:
    """What trainings share that differ in their seed alone."""
    trained_on = frozenset(run.data.get("train_groups") or ())
    tested = tuple(sorted(run.cells.stem.tolist()))
    return (*run.recipe, run.split, trained_on, tested)


def float32_files(runs: Iterable[PublishedRun]) -> list[str]:
    """Return the trainings in float32 where others multiplied in bfloat16."""
    # A test of a checkpoint multiplies in float32, whatever its training did.
    amp = {run.file: run.results["run"].get("amp") for run in runs if not run.is_test}
    return [file for file in amp if amp[file] is False and True in amp.values()]


def precision_note(results: Sequence[Result]) -> str:
    """Name the results of trainings in float32 beside others; else ''."""
    files = set(float32_files(run for result in results for run in result.runs))
    names = [r.name for r in results if files & {run.file for run in r.runs}]
    if not names:
        return ""
    return f"Trained in float32, the others in bfloat16: {', '.join(names)}."
