"""Published results: copying a run to results/, reading all, and pooling folds."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from leuko_mm.classes import CLASSES
from leuko_mm.datasets.composition import EVERY_ALIKE
from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.metric import CELLS_FILE, Cells, load_cells
from leuko_mm.files import read_any_json, replacing, write_text
from leuko_mm.report.comparison_page import Cell, TableRow
from leuko_mm.report.run_page import FileLink
from leuko_mm.training.config import COMBINATIONS, SETTINGS
from leuko_mm.training.run_report import read_losses

RESULTS_FILE = "results.json"
NEEDED = ("run", "data", "model", "metrics", "confusion", "cells")
# A shorter training is too short to be printed as a result.
LEAST_ITERATIONS = 300
FOLDS = tuple(f"fold{k}" for k in range(1, 6))
FIVE_FOLDS = "five folds"
# Settings are chosen on this split; the fold tests the same cells.
DEVELOPMENT, DEVELOPMENT_FOLD = "development", "fold4"
# An encoder that starts from none of the known weights.
RANDOM = "random"
# The length of a training in a variant's name.
LENGTH = re.compile(r"^i\d+$")
# A command that tests a checkpoint, as ``leuko`` or as MMSegmentation's users know it.
TEST = re.compile(r"^(leuko test|(python )?tools/test\.py) ")
# Options of the run's name, of its test images, and of how the answer is read.
NOT_OF_TRAINING = ("variant=", "test_dataloader.", "model.type=", "model.test_cfg.")


def read_results(path: Path) -> dict | None:
    """Return a results file, None if it is absent or damaged."""
    try:
        content = read_any_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def cells_beside(target: Path) -> Path:
    """Return the file of the cells of a published results file."""
    return target.with_name(f"{target.name.removesuffix('.json')}.cells.npz")


def losses_beside(target: Path) -> Path:
    """Return the file of the training's losses of a published results file."""
    return target.with_name(f"{target.name.removesuffix('.json')}.losses.csv")


def publish(work_dir: Path, target: Path) -> None:
    """Copy a finished run's results, each file whole, the cells before what names them.

    The logged losses go into a file of their own.
    """
    results = json.loads((work_dir / RESULTS_FILE).read_text(encoding="utf-8"))
    cells = cells_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(cells) as part:
        shutil.copyfile(work_dir / CELLS_FILE, part)
    losses = read_losses(work_dir)
    if losses:
        lines = ["iteration,loss", *(f"{i},{loss!r}" for i, loss in losses.items())]
        write_text(losses_beside(target), "\n".join(lines) + "\n")
    else:  # not those of the run that this one replaces
        losses_beside(target).unlink(missing_ok=True)
    results["cells"] = cells.name
    write_text(target, json.dumps(results, indent=1) + "\n")


def training_options(command: str) -> list[str]:
    """Return what ``--cfg-options`` change in a training: ``lr_mult=0.3``."""
    try:
        words = shlex.split(command)
    except ValueError:  # unbalanced quotes
        return []
    options, follow = [], False
    for word in words:
        if word.startswith("--"):
            option, _, word = word.partition("=")
            follow = len(option) > len("--c") and "--cfg-options".startswith(option)
        if follow and word and not word.startswith(NOT_OF_TRAINING):
            options.append(word.partition("="))
    return [
        f"{key.rpartition('.')[2]}{equals}{value}" for key, equals, value in options
    ]


@dataclass(frozen=True)
class PublishedRun:
    """One results file with the confusions of its cells.

    Attributes:
        file: path below the folder of the results.
        folder: the protocol, with the data where it is not the protocol's own.
        variant: what the file's name says beside method, split and seed, without the
            length of the training.
        own_length: whether the training had its protocol's length.
        reading: how cells are read from the network's answer; empty: pixel by pixel.
        tiles: cells along a side of a test image; 1 for images of one cell.
        alike: whether the cells of a test image are all of one class.
        losses: (iteration, loss) as the training logged them; empty if not published.
        trained_by: the command that trained its network, where that is published.
    """

    file: str
    results: Mapping
    cells: Cells
    folder: str
    method: str
    split: str
    seed: int
    iterations: int
    variant: str | None
    own_length: bool
    command: str
    reading: Mapping
    tiles: int
    alike: bool
    losses: tuple[tuple[int, float], ...] = ()
    trained_by: str | None = None

    @property
    def data(self) -> Mapping:
        """The block ``data`` of the file."""
        return self.results["data"]

    @property
    def is_test(self) -> bool:
        """Whether a checkpoint was tested, rather than a network trained."""
        return bool(TEST.match(self.command))

    @property
    def options(self) -> tuple[str, ...]:
        """What the training changed in the config of its method."""
        return tuple(training_options(self.trained_by or self.command))

    @property
    def network(self) -> tuple:
        """What tells one trained network, or one recipe, from another."""
        digest = (self.results.get("checkpoint") or {}).get("sha256")
        if digest:
            return (digest,)
        return self.method, self.variant, self.seed, self.iterations

    @property
    def mean_iou(self) -> float:
        """Mean IoU of its cells, in percent."""
        return scores(self.cells.confusion.sum(axis=0)).metrics["mIoU"]

    @property
    def on_development(self) -> bool:
        """Whether it was tested where settings are chosen."""
        return self.split.split("_")[0] == DEVELOPMENT

    @property
    def images(self) -> tuple:
        """What tells images of one test from those of another."""
        size, data = self.data.get("size"), (self.data["dataset"], self.data["sha256"])
        return self.folder, size, self.tiles, self.alike, *data

    @property
    def likeness(self) -> tuple:
        """What two runs must share to be compared: length and images."""
        return self.folder, self.iterations, *self.images

    @property
    def recipe(self) -> tuple:
        """What two runs share that differ in nothing but their split and seed."""
        how = self.options, tuple(sorted(self.reading.items()))
        return (*self.likeness, self.method, self.variant, *how)


@dataclass(frozen=True)
class PublishedRuns:
    """All runs below ``results/``; ``short`` ones are not printed as results."""

    runs: tuple[PublishedRun, ...]
    short: tuple[PublishedRun, ...]
    faults: tuple[str, ...]


def read_runs(results: Path) -> PublishedRuns:
    """Read every results file below the folders of the protocols."""
    found, faults = [], []
    for path in sorted(results.glob("*/*.json")):
        try:
            found.append(_read_run(path, path.relative_to(results).as_posix()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            faults.append(f"{path}: {fault}")
    # A test does not say how its checkpoint was trained; that training's file does.
    trainings = {run.network: run.command for run in found if not run.is_test}
    found = [
        replace(run, trained_by=trainings.get(run.network)) if run.is_test else run
        for run in found
    ]
    runs = tuple(run for run in found if run.iterations >= LEAST_ITERATIONS)
    short = tuple(run for run in found if run.iterations < LEAST_ITERATIONS)
    return PublishedRuns(runs, short, tuple(faults))


def _read_run(path: Path, file: str) -> PublishedRun:
    results = read_any_json(path)
    missing = [key for key in NEEDED if key not in results]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}; publish the run again")
    cells = load_cells(path.with_name(str(results["cells"])))
    if (cells.confusion.sum(axis=0) != np.array(results["confusion"])).any():
        raise ValueError(f"does not agree with {results['cells']}; publish both again")
    run, mosaic = results["run"], results["data"].get("mosaic") or {}
    words = _variant_words(path.stem, run)
    variant = [word for word in words if not LENGTH.match(word)]
    read = PublishedRun(
        file=file,
        results=results,
        cells=cells,
        folder=path.parent.name,
        method=str(run["method"]),
        split=str(run.get("split") or "all cells"),
        seed=int(run.get("seed") or 0),
        iterations=int(run["iterations"] or 0),
        variant="-".join(variant) or None,
        own_length=variant == words,
        command=str(run.get("command") or ""),
        reading=results["model"].get("reading") or {},
        tiles=int(mosaic.get("n", 1)),
        alike=mosaic.get("mode") == EVERY_ALIKE,
        losses=_read_losses(losses_beside(path)),
    )
    _ = read.likeness  # a missing key is a fault of the file
    return read


def _read_losses(path: Path) -> tuple[tuple[int, float], ...]:
    if not path.is_file():
        return ()
    with open(path, newline="", encoding="utf-8") as file:
        try:
            rows = csv.DictReader(file)
            return tuple((int(r["iteration"]), float(r["loss"])) for r in rows)
        except (KeyError, TypeError, ValueError) as fault:
            raise ValueError(
                f"{path.name} beside it is damaged ({fault}); remove that file, or "
                "publish the run again"
            ) from None


def _variant_words(stem: str, run: Mapping) -> list[str]:
    method, tail = str(run["method"]), f"-{run.get('split')}-s{run.get('seed')}"
    words = str(run.get("variant") or "")
    if stem.startswith(method) and stem.endswith(tail):
        words = stem.removeprefix(method).removesuffix(tail)
    return [word for word in words.split("-") if word]


@dataclass(frozen=True)
class Result:
    """One run, or all five folds, which together test every cell once."""

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
    def name(self) -> str:
        """Name of method and variant, with the seed where it is not 0."""
        seed = f"seed {self.first.seed}" if self.first.seed else None
        return " ".join(filter(None, (self.method, self.variant, seed)))

    @property
    def setting(self) -> str:
        """Its variant in words, what it was trained and read with, a seed but 0."""
        run = self.first
        name, _, rest = (run.variant or "").partition("-")
        if run.method == "unet_vgg16" and run.variant in COMBINATIONS:
            words = f"ablation: {COMBINATIONS[run.variant]}"
        elif name in SETTINGS:
            words = f"{name}: {SETTINGS[name].words}{f'; {rest}' if rest else ''}"
        else:
            words = run.variant or "own: as its file has it"
        if run.options:
            words += f" ({', '.join(run.options)})"
        seed = [f"seed {run.seed}"] if run.seed else []
        return ", ".join([words, *self.reading, *seed])

    @property
    def reading(self) -> list[str]:
        """How cells were read from the answer, in words; nothing: pixel by pixel."""
        words = {"least_area": "one class a cell", "views": "eight views"}
        return [words[key] for key in words if key in self.first.reading]

    @property
    def encoder(self) -> str:
        """What its encoder started from."""
        return str(self.first.results["model"].get("pretrained") or RANDOM)

    @property
    def encoder_words(self) -> str:
        """What its encoder started from, as a remark behind a name."""
        return "random weights" if self.encoder == RANDOM else self.encoder

    def conditions(self, *others: Result) -> str:
        """Say protocol, test, length and images; others differ in length alone."""
        run, size = self.first, self.first.data.get("size")
        lengths = sorted({result.first.iterations for result in (self, *others)})
        image = f"{run.tiles}x{run.tiles} cells" if run.tiles > 1 else "single cells"
        return (
            f"{run.folder}, {self.scope} ({len(self.cells.stem)} cells), "
            f"{' or '.join(map(str, lengths))} "
            f"iterations, {image}{f' on {size} px' if size else ''}"
        )

    def row(self, *cells: Cell) -> TableRow:
        """Return a row of a table: method, setting, then the cells."""
        return TableRow((self.method, self.setting, *cells), self.links)

    @property
    def family(self) -> tuple:
        """Results of one family may be compared: the same test, trained alike."""
        return (*self.first.likeness, self.scope)

    @cached_property
    def cells(self) -> Cells:
        """All test cells; without outline counts where a run has none."""
        columns = zip(*(vars(run.cells).values() for run in self.runs), strict=True)
        return Cells(
            *(None if any(c is None for c in x) else np.concatenate(x) for x in columns)
        )

    @property
    def all_classes(self) -> bool:
        """Whether its classes are those of leukocytes, not leukocyte or background."""
        return self.cells.confusion.shape[-1] == len(CLASSES)

    @property
    def links(self) -> tuple[FileLink, ...]:
        """The results files."""
        return tuple(FileLink(run.file, run.split) for run in self.runs)


def named_links(results: Iterable[Result]) -> tuple[FileLink, ...]:
    """Return the files of results, the first of each named by the method too."""
    return tuple(
        FileLink(link.path, f"{result.name} {link.words}" if not n else link.words)
        for result in results
        for n, link in enumerate(result.links)
    )


def results_of(runs: Iterable[PublishedRun]) -> list[Result]:
    """Return what counts as one result: all five folds where they are, else a run.

    Runs on the development fold are left out: they are for choosing.
    """
    groups: dict[tuple, dict[str, PublishedRun]] = defaultdict(dict)
    for run in runs:
        if not run.on_development:
            groups[(*run.recipe, run.seed)][run.split] = run
    found = []
    for by_split in groups.values():
        folds = tuple(by_split[fold] for fold in FOLDS if fold in by_split)
        stems = [stem for run in folds for stem in run.cells.stem.tolist()]
        whole = len(folds) == len(FOLDS) and len(stems) == len(set(stems))
        if whole:
            found.append(Result(folds, FIVE_FOLDS))
        found += [
            Result((run,), split)
            for split, run in by_split.items()
            if not (whole and split in FOLDS)
        ]
    return found


def by_length(results: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """Divide results into those of their protocol's length and the others.

    Where none has its protocol's length, all count as such.
    """
    own: list[Result] = []
    others: list[Result] = []
    for result in results:
        (own if result.first.own_length else others).append(result)
    return (own, others) if own else (others, [])


def without_other_images(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    """Leave out tests of a network on other images than its training's."""
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
    """Return each fold of the results over five folds by itself."""
    return [
        Result((run,), run.split)
        for result in results
        if result.scope == FIVE_FOLDS
        for run in result.runs
    ]


def shown_families(results: Sequence[Result]) -> list[list[Result]]:
    """Return results that may be compared with one another, widest test first."""
    families: dict[tuple, list[Result]] = defaultdict(list)
    for result in [*results, *single_folds(results)]:
        families[result.family].append(result)
    order = sorted(families, key=lambda key: (key[-1] != FIVE_FOLDS, *map(str, key)))
    found = [families[key] for key in order]
    return [members for members in found if any(r in results for r in members)]


def with_compared_folds(results: Sequence[Result]) -> list[Result]:
    """Return results, and single folds of wider ones where others were tested."""
    found = {id(result): result for result in results}
    for members in shown_families(results):
        found |= {id(result): result for result in members}
    return list(found.values())
