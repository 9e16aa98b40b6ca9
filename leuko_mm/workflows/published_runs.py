"""Published runs: what stands below ``results/``, and what counts as one result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leuko_mm.datasets.mosaic_options import EVERY_ALIKE
from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.leukocyte_metric import Cells, load_cells
from leuko_mm.report.run_report import FileLink
from leuko_mm.workflows.training_options import training_options

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
