"""What counts as one result: a run, or all five folds of a method together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from leuko_mm.report.run_report import FileLink
from leuko_mm.workflows.published_runs import PublishedRun

FOLDS = tuple(f"fold{k}" for k in range(1, 6))
FIVE_FOLDS = "five folds"
# The fold that the development split tests.
DEVELOPMENT_FOLD = "fold4"


@dataclass(frozen=True)
class Result:
    """One run, or the same method over folds that together test every cell once.

    Args:
        runs: one, or one a fold.
        scope: ``five folds``, or the run's split.
    """

    runs: tuple[PublishedRun, ...]
    scope: str

    @property
    def first(self) -> PublishedRun:
        """The first run, for what all of them share."""
        return self.runs[0]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.first.method

    @property
    def variant(self) -> str | None:
        """Setting or ablation."""
        return self.first.variant

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.first.seed

    @property
    def name(self) -> str:
        """Name of method and variant, with the seed where it is not 0."""
        seed = f"seed {self.seed}" if self.seed else None
        return " ".join(filter(None, (self.method, self.variant, seed)))

    @property
    def family(self) -> tuple:
        """Results of one family may be compared: the same test, trained alike."""
        return (*self.first.likeness, self.scope)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Confusions of all test cells, (N, C, C)."""
        return np.concatenate([run.cells.confusion for run in self.runs])

    @cached_property
    def groups(self) -> np.ndarray:
        """The slide of each cell."""
        return np.concatenate([run.cells.group for run in self.runs])

    @cached_property
    def stems(self) -> np.ndarray:
        """The name of each cell."""
        return np.concatenate([run.cells.stem for run in self.runs])

    @cached_property
    def boundary(self) -> np.ndarray | None:
        """Outline counts of all test cells, None where a run has none."""
        counts = [run.cells.boundary for run in self.runs]
        return None if any(c is None for c in counts) else np.concatenate(counts)

    @property
    def links(self) -> tuple[FileLink, ...]:
        """The results files."""
        return tuple(run.link for run in self.runs)


def results_of(runs: Iterable[PublishedRun]) -> list[Result]:
    """Return what counts as one result: all five folds where they are, else a run.

    Folds are joined where method, variant, seed, length, images, what the training
    changed and how its answer is read are the same.

    Runs on the development fold are left out: they are for choosing.
    """
    groups: dict[tuple, dict[str, PublishedRun]] = defaultdict(dict)
    for run in (run for run in runs if not run.on_development):
        key = (*recipe_of(run), run.run.get("seed"))
        groups[key][str(run.run.get("split") or "all cells")] = run
    found = []
    for of_split in groups.values():
        folds = [of_split[fold] for fold in FOLDS if fold in of_split]
        if len(folds) == len(FOLDS) and _disjoint(folds):
            found.append(Result(tuple(folds), FIVE_FOLDS))
            rest = [s for s in of_split if s not in FOLDS]
        else:
            rest = list(of_split)
        found += [Result((of_split[s],), s) for s in rest]
    return found


def recipe_of(run: PublishedRun) -> tuple:
    """What two runs share that differ in nothing but their split and their seed."""
    how = run.options, tuple(sorted(run.reading.items()))
    return (*run.likeness, run.method, run.variant, *how)


def without_other_images(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    """Leave out tests of a network on other images than those of its own training.

    They are no row of a comparison of methods; ``cells_per_image`` shows them.
    """
    own = defaultdict(set)
    for run in runs:
        if not run.is_test:
            own[run.network].add((run.tiles, run.alike))
    return [
        run
        for run in runs
        if not run.is_test
        or (run.tiles, run.alike) in own.get(run.network, {(run.tiles, run.alike)})
    ]


def single_folds(results: Iterable[Result]) -> list[Result]:
    """Return the folds of results over five of them, each by itself.

    Another method may be there on one fold alone.
    """
    return [
        Result((run,), str(run.run["split"]))
        for result in results
        if result.scope == FIVE_FOLDS
        for run in result.runs
    ]


def families(results: Iterable[Result]) -> dict[tuple, list[Result]]:
    """Return results that may be compared with one another, the widest test first."""
    found: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        found[result.family].append(result)
    order = sorted(found, key=lambda key: (key[-1] != FIVE_FOLDS, *map(str, key)))
    return {key: found[key] for key in order}


def shown_families(results: Sequence[Result]) -> list[list[Result]]:
    """Return the families of results, each joined by single folds of wider results.

    A method of all folds also stands among those that are there on one of them.
    """
    both = families([*results, *single_folds(results)]).values()
    return [members for members in both if any(r in results for r in members)]


def with_compared_folds(results: Sequence[Result]) -> list[Result]:
    """Return results, and single folds of wider ones where others were tested."""
    found = {id(result): result for result in results}
    for members in shown_families(results):
        found |= {id(result): result for result in members}
    return list(found.values())


def without_development(result: Result) -> Result | None:
    """Return a result without the fold on which settings are chosen.

    None where it is not of several folds.
    """
    kept = tuple(r for r in result.runs if r.run.get("split") != DEVELOPMENT_FOLD)
    if result.scope != FIVE_FOLDS or len(kept) == len(result.runs):
        return None
    return Result(kept, f"without {DEVELOPMENT_FOLD}")


def _disjoint(folds: Sequence[PublishedRun]) -> bool:
    stems = [stem for run in folds for stem in run.cells.stem.tolist()]
    return len(stems) == len(set(stems))
