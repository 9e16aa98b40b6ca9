"""Published results: runs below results/, folds pooled, and seeds of one recipe."""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np

from leuko_mm.datasets.composition import EVERY_ALIKE
from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.metric import Cells, load_cells
from leuko_mm.report.run_page import FileLink

# Options that say what a run is called, what it is tested on, and how it is read.
OF_THE_TEST = ("variant=", "test_dataloader.", "model.type=", "model.test_cfg.")


def training_options(command: str) -> list[str]:
    """Return what a run's command changes in the config of its training.

    What tells how images of a test are made and how the answer is read is said
    elsewhere, so it is left out.

    Args:
        command: ``leuko train ... --cfg-options KEY=VALUE ...``.

    Example:
        >>> words = "variant=fast optim_wrapper.paramwise_cfg.lr_mult=0.3 --seed 1"
        >>> training_options(f"leuko train cbam_unet --cfg-options {words}")
        ['lr_mult=0.3']
    """
    _, _, behind = command.partition(" --cfg-options ")
    try:
        words = shlex.split(behind)
    except ValueError:  # no command that a shell would take, so nothing is known
        return []
    given = takewhile(lambda word: not word.startswith("--"), words)
    kept = (option for option in given if not option.startswith(OF_THE_TEST))
    return [_short(*option.partition("=")) for option in kept]


def _short(key: str, equals: str, value: str) -> str:
    """Return an option without what its last key stands in."""
    return f"{key.rpartition('.')[2]}{equals}{value}"


# Shorter trainings say how far a method is after a few minutes, not what it can do.
LEAST_ITERATIONS = 300
NEEDED = ("run", "data", "model", "metrics", "confusion", "cells")
DEVELOPMENT = "development"
LENGTH = re.compile(r"^i\d+$")
# A command that tests a checkpoint, as ``leuko`` or as MMSegmentation's users know it.
TEST = re.compile(r"^(leuko test|(python )?tools/test\.py) ")


@dataclass(frozen=True)
class PublishedRun:
    """One results file with the confusions of its cells.

    Args:
        file: path below the folder of the results.
        results: its content.
        cells: of ``.cells.npz``.
        trained_by: the command that trained its network, where that is published.
    """

    file: str
    results: Mapping
    cells: Cells
    trained_by: str | None = None

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
        """What the file's name says beside method, split and seed.

        A setting, an ablation, or how a network was tested; without a length of the
        training, which the results tell.
        """
        tail = f"-{self.run.get('split')}-s{self.run.get('seed')}"
        stem = Path(self.file).stem
        named = stem.startswith(self.method) and stem.endswith(tail)
        words = str(self.run.get("variant") or "")
        if named:
            words = stem.removeprefix(self.method).removesuffix(tail)
        return (
            "-".join(w for w in words.split("-") if w and not LENGTH.match(w)) or None
        )

    @property
    def seed(self) -> int:
        """Of the training."""
        return int(self.run.get("seed") or 0)

    @property
    def command(self) -> str:
        """The command that made the file."""
        return str(self.run.get("command") or "")

    @property
    def options(self) -> tuple[str, ...]:
        """What the training changed in the config of its method."""
        return tuple(training_options(self.trained_by or self.command))

    @property
    def uncommitted(self) -> bool:
        """Whether code or configs were changed and not committed."""
        return str(self.run.get("git") or "").endswith("-dirty")

    @property
    def network(self) -> tuple:
        """What tells one trained network, or one recipe, from another."""
        digest = (self.results.get("checkpoint") or {}).get("sha256")
        if digest:
            return (digest,)
        return self.method, self.variant, self.run.get("seed"), self.iterations

    @property
    def iterations(self) -> int:
        """Iterations of the training."""
        return int(self.run["iterations"] or 0)

    @property
    def reading(self) -> Mapping:
        """How cells are read from the network's answer; empty: pixel by pixel."""
        return self.results["model"].get("reading") or {}

    @property
    def tiles(self) -> int:
        """Cells along a side of a test image; 1 for images of one cell."""
        return int((self.results["data"].get("mosaic") or {}).get("n", 1))

    @property
    def alike(self) -> bool:
        """Whether the cells of a test image are all of one class."""
        mosaic = self.results["data"].get("mosaic") or {}
        return mosaic.get("mode") == EVERY_ALIKE

    @property
    def is_test(self) -> bool:
        """Whether a checkpoint was tested; a training's file tells what it learnt."""
        return bool(TEST.match(self.command))

    @property
    def mean_iou(self) -> float:
        """Mean IoU of its cells, in percent."""
        return scores(self.cells.confusion.sum(axis=0)).metrics["mIoU"]

    @property
    def on_development(self) -> bool:
        """Whether it was tested where settings are chosen.

        Splits that learn from fewer slides are named ``development_groups20``.
        """
        return str(self.run.get("split")).split("_")[0] == DEVELOPMENT

    @property
    def images(self) -> tuple:
        """What tells images of one test from those of another.

        How a training's mosaics are dealt is its protocol's, which the folder names.
        """
        data = self.results["data"]
        return self.folder, data.get("size"), self.tiles, self.alike, data["dataset"]

    @property
    def likeness(self) -> tuple:
        """What two runs must share to be compared: length and images."""
        return self.folder, self.iterations, *self.images

    @property
    def link(self) -> FileLink:
        """The results file, named by its split."""
        return FileLink(self.file, str(self.run.get("split") or "all cells"))


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
        try:
            found.append(_read(path, path.relative_to(results).as_posix()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            faults.append(f"{path}: {fault}")
    found = _with_trainings(found)
    runs = tuple(run for run in found if run.iterations >= LEAST_ITERATIONS)
    short = tuple(run for run in found if run.iterations < LEAST_ITERATIONS)
    return PublishedRuns(runs, short, tuple(faults))


def _with_trainings(runs: list[PublishedRun]) -> list[PublishedRun]:
    """Tell the test of a checkpoint which training it came from."""
    trainings = {run.network: run.command for run in runs if not run.is_test}
    return [
        replace(run, trained_by=trainings.get(run.network)) if run.is_test else run
        for run in runs
    ]


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
