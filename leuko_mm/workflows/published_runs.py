"""Published runs: what stands below ``results/``, and what counts as one result."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from leuko_mm.evaluation.leukocyte_metric import Cells, load_cells
from leuko_mm.report.run_report import FileLink
from leuko_mm.workflows.compare_results import LOSSES_ENDING

# Shorter trainings say how far a method is after a few minutes, not what it can do.
LEAST_ITERATIONS = 300
FOLDS = tuple(f"fold{k}" for k in range(1, 6))
FIVE_FOLDS = "five folds"
DEVELOPMENT = "development"
NEEDED = ("run", "data", "model", "metrics", "confusion", "cells")
LENGTH = re.compile(r"^i\d+$")


@dataclass(frozen=True)
class PublishedRun:
    """One results file with the confusions of its cells.

    Args:
        file: path below the folder of the results.
        results: its content.
        cells: of ``.cells.npz``.
    """

    file: str
    results: Mapping
    cells: Cells

    @property
    def folder(self) -> str:
        """Protocol, with the data behind it where that is not the protocol's own."""
        return self.file.split("/")[0]

    @property
    def run(self) -> Mapping:
        """The block ``run`` of the file."""
        return self.results["run"]

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.run["method"])

    @property
    def variant(self) -> str | None:
        """Setting or ablation, without a length of the training."""
        words = str(self.run.get("variant") or "").split("-")
        return "-".join(w for w in words if w and not LENGTH.match(w)) or None

    @property
    def iterations(self) -> int:
        """Iterations of the training."""
        return int(self.run["iterations"] or 0)

    @property
    def tiles(self) -> int:
        """Cells along a side of a test image; 1 for images of one cell."""
        return int((self.results["data"].get("mosaic") or {}).get("n", 1))

    @property
    def likeness(self) -> tuple:
        """What two runs must share to be compared."""
        data = self.results["data"]
        how = json.dumps(data.get("mosaic"), sort_keys=True)
        return self.folder, self.iterations, data.get("size"), how, data["dataset"]

    @property
    def link(self) -> FileLink:
        """The results file, named by its split."""
        return FileLink(self.file, str(self.run.get("split") or "all cells"))


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
        return int(self.first.run.get("seed") or 0)

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


@dataclass(frozen=True)
class PublishedRuns:
    """All that stands below ``results/``.

    Args:
        runs: long enough to be printed as results.
        short: the others.
        faults: a line on each file that cannot be read.
    """

    runs: tuple[PublishedRun, ...]
    short: tuple[PublishedRun, ...]
    faults: tuple[str, ...]


def read_runs(results: Path) -> PublishedRuns:
    """Read every results file below the folders of the protocols."""
    found, faults = [], []
    for path in sorted(results.glob("*/*.json")):
        if path.name.endswith(LOSSES_ENDING):
            continue
        try:
            found.append(_read(path, path.relative_to(results).as_posix()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            faults.append(f"{path}: {fault}")
    runs = tuple(run for run in found if run.iterations >= LEAST_ITERATIONS)
    short = tuple(run for run in found if run.iterations < LEAST_ITERATIONS)
    return PublishedRuns(runs, short, tuple(faults))


def _read(path: Path, file: str) -> PublishedRun:
    results = json.loads(path.read_text(encoding="utf-8"))
    missing = [key for key in NEEDED if key not in results]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}; publish the run again")
    cells = load_cells(path.with_name(str(results["cells"])))
    if (cells.confusion.sum(axis=0) != np.array(results["confusion"])).any():
        raise ValueError(f"does not agree with {results['cells']}; publish both again")
    run = PublishedRun(file, results, cells)
    _ = run.likeness, run.method, run.iterations
    return run


def results_of(runs: Iterable[PublishedRun]) -> list[Result]:
    """Return what counts as one result: all five folds where they are, else a run.

    Runs on the development split are left out: they are for choosing.
    """
    groups: dict[tuple, dict[str, PublishedRun]] = defaultdict(dict)
    for run in runs:
        key = (*run.likeness, run.method, run.variant, run.run.get("seed"))
        groups[key][str(run.run.get("split") or "all cells")] = run
    found = []
    for of_split in groups.values():
        folds = [of_split[fold] for fold in FOLDS if fold in of_split]
        if len(folds) == len(FOLDS) and _disjoint(folds):
            found.append(Result(tuple(folds), FIVE_FOLDS))
            rest = [s for s in of_split if s not in FOLDS]
        else:
            rest = list(of_split)
        found += [Result((of_split[s],), s) for s in rest if s != DEVELOPMENT]
    return found


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


def _disjoint(folds: Sequence[PublishedRun]) -> bool:
    stems = [stem for run in folds for stem in run.cells.stem.tolist()]
    return len(stems) == len(set(stems))
