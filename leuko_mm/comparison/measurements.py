"""Metrics of published results with intervals, and their names in the report."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from leuko_mm.classes import CLASSES
from leuko_mm.comparison.results import (
    DEVELOPMENT_FOLD,
    FIVE_FOLDS,
    PublishedRun,
    Result,
    recipe_of,
    shown_families,
    single_folds,
    without_development,
)
from leuko_mm.evaluation.boundary import boundary_statistics
from leuko_mm.evaluation.cell_scores import statistic
from leuko_mm.evaluation.metric import Cells
from leuko_mm.evaluation.statistics import (
    Difference,
    DifferentCellsError,
    Interval,
    bootstrap_intervals,
    holm,
    paired_difference,
    same_cells,
    true_classes,
)
from leuko_mm.report.comparison import ResultTable, Section, TableRow, cell_text
from leuko_mm.report.html import Measured
from leuko_mm.report.run_page import FileLink, Headline
from leuko_mm.training.config import COMBINATIONS, SETTINGS

# In percent: the mean IoU is the one that the paper prints.
TARGETS = {"mIoU": 91.89, "pixel_accuracy": 99.0}
# Where an encoder's weights are drawn.
RANDOM = "random"


def setting_words(variant: str | None) -> str:
    """Say what a variant is.

    Example:
        >>> setting_words("A"), setting_words(None)
        ('A: raw image, cross-entropy', 'own: as its file has it')
        >>> setting_words("A-views8")
        'A: raw image, cross-entropy; views8'
    """
    if variant is None:
        return "own: as its file has it"
    setting, _, rest = variant.partition("-")
    if setting in SETTINGS:
        said = f"{setting}: {SETTINGS[setting].words}"
        return f"{said}; {rest}" if rest else said
    return variant


def setting_of(result: Result) -> str:
    """Say a result's variant, what it was trained and read with, a seed but 0."""
    words = [setting_words(result.variant), *reading_words(result.first.reading)]
    if result.method == "unet_vgg16" and result.variant in COMBINATIONS:
        words[0] = f"ablation: {COMBINATIONS[result.variant]}"
    changed = result.first.options
    if changed:
        words[0] += f" ({', '.join(changed)})"
    return ", ".join(words + [f"seed {result.seed}"] * bool(result.seed))


def reading_words(reading: Mapping) -> list[str]:
    """Say how cells were read from a network's answer; nothing: pixel by pixel.

    Example:
        >>> reading_words(dict(least_area=250, views=8))
        ['one class a cell', 'eight views']
    """
    words = ["one class a cell"] * ("least_area" in reading)
    return words + ["eight views"] * ("views" in reading)


def protocol_words(*results: Result) -> str:
    """Say under what results of one test were made: protocol, test, length, images."""
    run = results[0].first
    size = run.results["data"].get("size")
    image = f"{run.tiles}x{run.tiles} cells" if run.tiles > 1 else "single cells"
    lengths = sorted({result.first.iterations for result in results})
    return (
        f"{run.folder}, {results[0].scope} ({len(results[0].stems)} cells), "
        f"{' or '.join(map(str, lengths))} iterations, "
        f"{image}{f' on {size} px' if size else ''}"
    )


def float32_files(runs: Iterable[PublishedRun]) -> list[str]:
    """Return the trainings in float32 where others multiplied in bfloat16."""
    # A test of a checkpoint multiplies in float32, whatever its training did.
    amp = {run.file: run.run.get("amp") for run in runs if not run.is_test}
    return [file for file in amp if amp[file] is False and True in amp.values()]


def precision_note(results: Sequence[Result]) -> str:
    """Name the results of trainings in float32 beside others; else ''."""
    files = set(float32_files(run for result in results for run in result.runs))
    names = [r.name for r in results if files & {run.file for run in r.runs}]
    if not names:
        return ""
    return f"Trained in float32, the others in bfloat16: {', '.join(names)}."


def encoder_of(result: Result) -> str:
    """Say what a result's encoder started from."""
    model = result.first.results["model"]
    return str(model.get("pretrained") or RANDOM)


def encoder_words(result: Result) -> str:
    """Say what a result's encoder started from, as a remark behind its name."""
    encoder = encoder_of(result)
    return "random weights" if encoder == RANDOM else encoder


def named_links(result: Result) -> tuple[FileLink, ...]:
    """Return a result's files, named by the method too."""
    return tuple(FileLink(k.path, f"{result.name} {k.words}") for k in result.links)


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


AIM = {
    "mIoU": f"our target is what the paper prints, {TARGETS['mIoU']:.2f}; its tables "
    "below show what its own precision and recall give",
    "pixel_accuracy": f"our target is {TARGETS['pixel_accuracy']:.2f}; the paper "
    "prints an accuracy of 99.53, which can be read in two ways",
}
COMPARED = ("mIoU", "pixel_accuracy")
# Figures of the tables and their heads.
SHOWN = {
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mIoU_fg": "mIoU without background",
    "right_class": "cells of the right class",
    "found": "cells found",
    OUTLINE: "boundary F1",
}
CLASS_COUNT = len(CLASSES)


def overview(
    results: Sequence[Result],
    figures: Measurements,
    developed: Collection[str],
) -> Section:
    """Return the section of every result, the five-fold ones first.

    Args:
        results: what is published.
        figures: of the results.
        developed: datasets on whose development fold settings were tried.
    """
    tables = []
    for members in shown_families(results):
        number = len(tables) + 1
        tables.append(_overview_table(members, figures, developed, number))
    lead = (
        "Percent. Brackets hold 95 % bootstrap intervals, over slides and then over "
        "cells within slides; in simulations they covered the truth in 86 to 95 % of "
        "the cases with the ten slides of one fold, and in 95 % and more with fifty. "
        "One training a row or fold, that of the lowest seed, so they do not tell of "
        "another. No interval stands where no resample differs, as where every cell is "
        "found. The best mIoU comes first. Compare figures within one table only, and "
        "only rows whose encoders start from the same weights and whose answers are "
        "post-processed in the same way (not at all, unless the setting says so). The "
        "last section says what the words mean."
    )
    if not any(result.scope == FIVE_FOLDS for result in results):
        lead += (
            " No method is published on all five folds yet, so no figure here is of "
            "every cell."
        )
    return Section("results", "Results", lead, tuple(tables))


def _overview_table(
    members: Sequence[Result],
    figures: Measurements,
    developed: Collection[str],
    number: int,
) -> ResultTable:
    ranked = sorted(members, key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    many = ranked[0].confusion.shape[-1] == CLASS_COUNT
    outlined = any(result.boundary is not None for result in ranked)
    lacking = {"right_class": not many, OUTLINE: not outlined}
    heads = {name: head for name, head in SHOWN.items() if not lacking.get(name)}
    rows = [
        TableRow(
            (
                r.method,
                setting_of(r),
                encoder_of(r),
                *figures.of(r, list(heads)).values(),
            ),
            r.links,
        )
        for r in ranked
    ]
    notes = (
        precision_note(ranked),
        _without_development(ranked, figures, developed),
    )
    return ResultTable(
        f"results_{number}",
        protocol_words(ranked[0]),
        ("method", "setting", "encoder", *heads.values()),
        tuple(rows),
        note=" ".join(filter(None, notes)),
        words=(0, 1, 2),
    )


def _without_development(
    ranked: Sequence[Result], figures: Measurements, developed: Collection[str]
) -> str:
    """Say what results over all folds are without the one of the choices."""
    if ranked[0].first.results["data"]["dataset"] not in developed:
        return ""
    if ranked[0].scope == DEVELOPMENT_FOLD:
        return (
            "Settings other than A and B, and how an answer is read, were chosen on "
            "the cells of this fold, so it is no independent test of them."
        )
    said = []
    for result in ranked:
        rest = without_development(result)
        if rest is not None:
            shown = cell_text(figures.of(rest, ["mIoU"])["mIoU"])
            said.append(f"{result.name} {shown}")
    if not said:
        return ""
    cells = len(without_development(ranked[0]).stems)
    return (
        "Settings other than A and B, and how an answer is read, were chosen on "
        f"{DEVELOPMENT_FOLD}. Mean IoU without it, over {cells} cells: "
        f"{'; '.join(said)}."
    )


def headlines(
    results: Sequence[Result], figures: Measurements, chosen: Sequence[Result] = ()
) -> tuple[Headline, ...]:
    """Return the CBAM U-Net's first figures, over as many cells as one result has.

    Args:
        results: what is published.
        figures: of the results.
        chosen: what was chosen on the development fold, the best there first; it
            stands beside the paper's method, never in its place.
    """
    many = [r for r in results if r.confusion.shape[-1] == CLASS_COUNT]
    whole = [r for r in many if r.scope == FIVE_FOLDS]
    folds = [r for r in many if r.scope.startswith("fold")]
    # The fold with the most cells, never the one that happened to go best.
    folds.sort(key=lambda r: (-len(r.stems), r.scope))
    first = paper_method(whole) or paper_method(folds)
    if first is None:
        return ()
    shown = _headlines(first, figures, "", AIM)
    if chosen and chosen[0] is not first:
        aim = dict.fromkeys(COMPARED, f"chosen on {DEVELOPMENT_FOLD}")
        shown += _headlines(chosen[0], figures, ", settings chosen by us", aim)
    return tuple(shown)


def _headlines(
    result: Result, figures: Measurements, what: str, aim: Mapping[str, str]
) -> list[Headline]:
    shown = []
    for name, words in (("mIoU", "mean IoU"), ("pixel_accuracy", "pixel accuracy")):
        found = figures.of(result, [name])[name]
        read = ", ".join(["", *reading_words(result.first.reading)])
        ends = cell_text(found).partition(" ")[2]
        said = f"{result.name}{read}, {protocol_words(result)}; {aim[name]}"
        note = f"{ends}; {said}" if ends else said
        shown.append(Headline(f"{words}{what}", found.value, note))
    return shown


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
