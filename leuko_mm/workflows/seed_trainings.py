"""Trainings that differ in nothing but their seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from leuko_mm.evaluation.leukocyte_metric import Cells
from leuko_mm.evaluation.statistic import statistic
from leuko_mm.report.run_report import FileLink
from leuko_mm.workflows.pooled_results import Result, recipe_of, single_folds
from leuko_mm.workflows.published_runs import PublishedRun
from leuko_mm.workflows.report_plots import named_links


@dataclass(frozen=True)
class Trainings:
    """Results of one recipe and one test, a training or a set of folds each.

    Args:
        results: by seed; at least two.
    """

    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        """The result of the lowest seed."""
        return self.results[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings."""
        return tuple(result.seed for result in self.results)

    @property
    def links(self) -> tuple[FileLink, ...]:
        """All results files."""
        return tuple(link for result in self.results for link in named_links(result))

    def values(self, name: str) -> list[float]:
        """Return a figure of every training, in percent."""
        return [_value(result, name) for result in self.results]

    @cached_property
    def together(self) -> Result:
        """One result in which every cell is tested once by each training."""
        folds = zip(*(result.runs for result in self.results), strict=True)
        runs = tuple(replace(of[0], cells=_summed(of)) for of in folds)
        return Result(runs, self.first.scope)


def first_trainings(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    """Leave out trainings of what is there with a lower seed, and their tests.

    A recipe that was trained more often than others must not stand more often among
    them.
    """
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
        groups[key].setdefault(result.seed, result)
    return [
        Trainings(tuple(members[seed] for seed in sorted(members)))
        for members in groups.values()
        if len(members) > 1
    ]


def _training(run: PublishedRun) -> tuple:
    """What trainings share that differ in their seed alone."""
    learnt = frozenset(run.results["data"].get("train_groups") or ())
    tested = tuple(sorted(run.cells.stem.tolist()))
    return (*recipe_of(run), run.run.get("split"), learnt, tested)


def _value(result: Result, name: str) -> float:
    figure = statistic(name)
    return float(figure.value(figure.parts(result.confusion).sum(axis=0)))


def _summed(runs: Sequence[PublishedRun]) -> Cells:
    """Return cells with the pixels of all runs, in the order of their names."""
    orders = [np.argsort(run.cells.stem, kind="stable") for run in runs]
    ordered = zip(runs, orders, strict=True)
    first = runs[0].cells
    return Cells(
        stem=first.stem[orders[0]],
        group=first.group[orders[0]],
        confusion=sum(run.cells.confusion[order] for run, order in ordered),
    )
