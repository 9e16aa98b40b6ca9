"""Write the report of a comparison out of its published results, and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from leuko_mm.classes import CLASSES
from leuko_mm.comparison.measurements import (
    COMPARED,
    HEADS,
    OUTLINE,
    TARGETS,
    Metrics,
    first_trainings,
    float32_files,
    paper_method,
    precision_note,
)
from leuko_mm.comparison.paper_tables import paper_tables
from leuko_mm.comparison.report_differences import (
    cells_per_image,
    chosen_settings,
    development,
    difference_tables,
    differences,
    leakage,
    other_seeds,
    too_short,
    tried_on,
)
from leuko_mm.comparison.report_plots import at_a_glance, costs, learning, losses
from leuko_mm.comparison.results import (
    DEVELOPMENT_FOLD,
    FIVE_FOLDS,
    PublishedRuns,
    Result,
    by_length,
    read_runs,
    results_of,
    shown_families,
    with_compared_folds,
    without_other_images,
)
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.cell_scores import majority_classes, with_classes_right
from leuko_mm.evaluation.confusion import scores
from leuko_mm.files import real_path, refuse_others, replace_folder, write_text
from leuko_mm.report.comparison_page import (
    ComparisonReport,
    ResultTable,
    Section,
    ShownConfusion,
    TableRow,
    cell_text,
    csv_table,
    latex_table,
    markdown_page,
    render_comparison,
)
from leuko_mm.report.plots import on_any_ground, plot_svg
from leuko_mm.report.run_page import ClassLabel, Headline
from leuko_mm.training.config import SETTINGS
from leuko_mm.training.run_report import row_percent

PAGE = "report.html"
# Everything else that the report consists of; replaced as a whole.
FOLDER = "report"
TEXT = "report.md"
AIM = {
    "mIoU": f"our target is what the paper prints, {TARGETS['mIoU']:.2f}; its tables "
    "below show what its own precision and recall give",
    "pixel_accuracy": f"our target is {TARGETS['pixel_accuracy']:.2f}; the paper "
    "prints an accuracy of 99.53, which can be read in two ways",
}
CLOSING = (
    "Every number is computed from the results files beside it; what each training "
    "ended with is scored. For research, not for diagnosis."
)
# What the words of the tables mean.
TERMS = {
    **{f"setting {name}": setting.words for name, setting in SETTINGS.items()},
    "setting own": "as the method's file has it: for the CBAM U-Net the raw image with "
    "focal + Dice loss",
    "other settings": "names of ours. In brackets is what the training's command "
    "changed in the method's file; without brackets, as for former, the recipe is the "
    "file at the commit that the results file names",
    "ablation": "a row of the paper's Table 3: which of AHE-Retinex, CBAM and focal + "
    "Dice the U-Net on VGG16 has",
    "encoder": "the weights that it started from; random: none",
    "five folds": "fold1 to fold5 together: every cell tested once, by a network that "
    "saw no cell of its slide",
    "development": "trained on folds 1 to 3, tested on fold 4: for choosing",
    "paper, paper_mosaics": "splits of cells, or of mosaics, that put cells of one "
    "slide on both sides",
    "mIoU": "mean over the classes, the background among them, of the intersection "
    "over union of the pixels of all test cells together",
    "mIoU without background": "the same over the leukocyte classes alone",
    "pixel accuracy": "share of the pixels that have their class",
    "cells found": "cells that share at least half of their union with the pixels "
    "that were given any leukocyte class",
    "cells of the right class": "cells of which most of the pixels that were given a "
    "class were given the right one",
    "boundary F1": "how much of the drawn outlines lies within 2 pixels of the true "
    "ones, at the network's scale, and the other way round; mean over the leukocyte "
    "classes",
    "one class a cell": "every connected cell takes the class that its pixels together "
    "find most probable, and small pieces are dropped: another way to read the same "
    "network",
    "eight views": "the mean of the network's answers to the image, turned and "
    "mirrored",
}


def write_report(results: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write ``report.html`` and ``report/``; return the written files, and faults.

    The same results give the same bytes, whenever and wherever they are read.

    Raises:
        UsageError: if there are no results, or ``report/`` holds something else.
    """
    runs = read_runs(results)
    if not runs.runs and not runs.short:
        faults = f" ({'; '.join(runs.faults)})" if runs.faults else ""
        raise UsageError(
            f"{results} holds no results{faults}; make some with\n"
            "    leuko compare --protocol half"
        )
    folder = results / FOLDER
    refuse_others(folder, "a report", (TEXT, "tables", "figures"), force=True)
    return _write(results, gather_report(runs, results)), runs.faults


def _write(results: Path, report: ComparisonReport) -> tuple[Path, ...]:
    building = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=results))
    try:
        pictures = {figure.name: plot_svg(figure.plot) for figure in report.figures}
        places = {name: f"figures/{name}.svg" for name in pictures}
        files = {TEXT: markdown_page(report, places, "../").encode()}
        for table in report.tables:
            files[f"tables/{table.name}.csv"] = csv_table(table).encode()
            files[f"tables/{table.name}.tex"] = latex_table(table).encode()
        for name, place in places.items():
            files[place] = on_any_ground(pictures[name])
        for name, content in files.items():
            (building / name).parent.mkdir(exist_ok=True)
            (building / name).write_bytes(content)
        tables = {
            table.name: f"{FOLDER}/tables/{table.name}" for table in report.tables
        }
        page = render_comparison(report, pictures, tables)
        replace_folder(real_path(results / FOLDER), building)
        write_text(results / PAGE, page)
    except OSError as error:
        raise UsageError(
            f"the report was not written into {results} ({error}); fix the cause and "
            "give the same command again"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return (results / PAGE, *(results / FOLDER / name for name in files))


def gather_report(runs: PublishedRuns, folder: Path) -> ComparisonReport:
    """Return the report of the runs below a folder as plain data."""
    metrics = Metrics()
    first = first_trainings(runs.runs)
    own, others = by_length(results_of(without_other_images(first)))
    results, developed = [*own, *others], tried_on(first)
    chosen = chosen_settings(results, first)
    sections = [
        at_a_glance(own, metrics),
        overview(own, metrics, developed),
        differences(own),
        other_seeds(without_other_images(runs.runs)),
        paper_tables(with_compared_folds(results), metrics),
        leakage(results, metrics),
        cells_per_image(first, metrics),
        confusions(own, chosen),
        costs(own, metrics, folder),
        learning(first, metrics),
        losses(first),
        development(results, first, metrics, chosen),
        other_lengths(others, metrics, developed),
        too_short(runs.short),
        terms(),
    ]
    return ComparisonReport(
        _summary(runs),
        headlines(own, metrics, chosen),
        tuple(section for section in sections if section is not None),
        _closing(runs),
    )


def _summary(runs: PublishedRuns) -> str:
    methods = {run.method for run in runs.runs}
    protocols = sorted({run.folder for run in runs.runs})
    tests = sum(run.is_test for run in runs.runs)
    text = f"{_counted(len(runs.runs) - tests, 'training')}"
    text += f" of {_counted(len(methods), 'method')}"
    if protocols:
        text += f" under {', '.join(protocols)}"
    if tests:
        text += f", and {_counted(tests, 'other test')} of what they trained"
    return f"{text}, each beside its results file."


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _closing(runs: PublishedRuns) -> str:
    text = CLOSING
    if names := float32_files(runs.runs):
        text += " Trained in float32, where others multiplied in bfloat16: "
        text += f"{', '.join(names)}."
    commits = {run.file: str(run.results["run"].get("git")) for run in runs.runs}
    if names := [file for file, git in commits.items() if git.endswith("-dirty")]:
        text += " While these ran, files of the repository were changed and not "
        text += "committed, so their commit may not be all of their code: "
        text += f"{', '.join(names)}."
    return text


def headlines(
    results: Sequence[Result], metrics: Metrics, chosen: Sequence[Result]
) -> tuple[Headline, ...]:
    """Return the CBAM U-Net's first metrics, over as many cells as one result has.

    What was chosen on the development fold follows.
    """
    first = _on_most_cells(results)
    if first is None:
        return ()
    shown = [(first, name, "", AIM[name]) for name in COMPARED]
    if chosen and chosen[0] is not first:
        aim = ", settings chosen by us", f"chosen on {DEVELOPMENT_FOLD}"
        shown += [(chosen[0], name, *aim) for name in COMPARED]
    return tuple(_headline(*each, metrics) for each in shown)


def _on_most_cells(results: Iterable[Result]) -> Result | None:
    """Return the CBAM U-Net on all folds, else on the one with the most cells."""
    many = [r for r in results if r.all_classes]
    whole = [r for r in many if r.scope == FIVE_FOLDS]
    # Never the fold that happened to go best.
    folds = [r for r in many if r.scope.startswith("fold")]
    folds.sort(key=lambda r: (-len(r.cells.stem), r.scope))
    return paper_method(whole) or paper_method(folds)


def _headline(
    result: Result, name: str, what: str, aim: str, metrics: Metrics
) -> Headline:
    shown = metrics.one(result, name)
    read = ", ".join(["", *result.reading])
    interval = cell_text(shown).partition(" ")[2]
    note = f"{result.name}{read}, {result.conditions()}; {aim}"
    label = {"mIoU": "mean IoU"}.get(name, HEADS[name])
    return Headline(
        f"{label}{what}", shown.value, f"{interval}; {note}" if interval else note
    )


def overview(
    results: Sequence[Result], metrics: Metrics, developed: Collection[str]
) -> Section:
    """Return the section of every result, the five-fold ones first.

    ``developed`` names the datasets on whose development fold settings were tried.
    """
    tables = _result_tables(results, metrics, developed, "results")
    lead = (
        "Percent. Brackets hold 95 % bootstrap intervals, over slides and then over "
        "cells within slides; in simulations they covered the truth in 86 to 95 % of "
        "the cases with the ten slides of one fold, and in 95 % and more with fifty. "
        "One training a row or fold, that of the lowest seed, so they do not tell of "
        "another. No interval is shown where no resample differs, as where every cell "
        "is found. The best mIoU comes first. Compare numbers within one table only, "
        "and only rows whose encoders start from the same weights and whose answers "
        "are post-processed in the same way (not at all, unless the setting says so). "
        "The last section says what the words mean."
    )
    if not any(result.scope == FIVE_FOLDS for result in results):
        lead += (
            " No method is published on all five folds yet, so no number here is of "
            "every cell."
        )
    return Section("results", "Results", lead, tuple(tables))


def other_lengths(
    results: Sequence[Result], metrics: Metrics, developed: Collection[str]
) -> Section | None:
    """Return the section of trainings of another length; None if there are none."""
    if not results:
        return None
    tables = _result_tables(results, metrics, developed, "other_lengths")
    tables += difference_tables(results, "other_lengths_differences")
    lead = (
        "Shorter or longer than their protocol, as the command said (`--iterations`). "
        "First the results, then each row minus the CBAM U-Net on the same cells, as "
        "above."
    )
    return Section("other_lengths", "Trainings of other lengths", lead, tuple(tables))


def _result_tables(
    results: Sequence[Result], metrics: Metrics, developed: Collection[str], key: str
) -> list[ResultTable]:
    tables = []
    for number, members in enumerate(shown_families(results), 1):
        ranked = metrics.best_first(members)
        lacking = {
            "right_class": not ranked[0].all_classes,
            OUTLINE: all(result.cells.boundary is None for result in ranked),
        }
        heads = {name: head for name, head in HEADS.items() if not lacking.get(name)}
        rows = [
            result.row(result.encoder, *metrics.of(result, heads).values())
            for result in ranked
        ]
        notes = precision_note(ranked), _choice_note(ranked, metrics, developed)
        tables.append(
            ResultTable(
                f"{key}_{number}",
                ranked[0].conditions(),
                ("method", "setting", "encoder", *heads.values()),
                tuple(rows),
                note=" ".join(filter(None, notes)),
                words=(0, 1, 2),
            )
        )
    return tables


def _choice_note(
    ranked: Sequence[Result], metrics: Metrics, developed: Collection[str]
) -> str:
    """Say what results over all folds are without the one of the choices."""
    first = ranked[0]
    if first.first.data["dataset"] not in developed:
        return ""
    chosen = "Settings other than A and B, and how an answer is read, were chosen on "
    if first.scope == DEVELOPMENT_FOLD:
        return f"{chosen}the cells of this fold, so it is no independent test of them."
    if first.scope != FIVE_FOLDS:
        return ""
    without = [
        Result(
            tuple(run for run in result.runs if run.split != DEVELOPMENT_FOLD),
            f"without {DEVELOPMENT_FOLD}",
        )
        for result in ranked
    ]
    values = [f"{rest.name} {cell_text(metrics.one(rest, 'mIoU'))}" for rest in without]
    return (
        f"{chosen}{DEVELOPMENT_FOLD}. Mean IoU without it, over "
        f"{len(without[0].cells.stem)} cells: {'; '.join(values)}."
    )


def confusions(results: Iterable[Result], chosen: Sequence[Result]) -> Section:
    """Return what the CBAM U-Net still confuses, over as many cells as there are."""
    first = _on_most_cells(results)
    title = "The confusions that remain"
    if first is None:
        return Section("confusions", title, "No run of the CBAM U-Net is published.")
    shown = [_shown_confusion(first, "confused_cells")]
    if chosen and chosen[0] is not first:
        shown.append(_shown_confusion(chosen[0], "confused_cells_chosen"))
    return Section("confusions", title, confusions=tuple(shown))


def _shown_confusion(result: Result, name: str) -> ShownConfusion:
    pooled = result.cells.confusion.sum(axis=0)
    labels = tuple(ClassLabel(c.name, c.aliases[0], c.colour) for c in CLASSES)
    truth, majority = majority_classes(result.cells.confusion)
    rows = []
    for row, label in enumerate(labels[1:], 1):
        counts = np.bincount(majority[truth == row], minlength=len(labels))
        rows.append(TableRow((label.name, *counts.tolist()), result.links))
    cells = ResultTable(
        name,
        "Whole cells: true class, and the class of most of their pixels",
        ("true class", "no leukocyte pixel", *(label.name for label in labels[1:])),
        tuple(rows),
    )
    # Pixels that would be right, were every class right within these outlines.
    ideal = with_classes_right(result.cells.confusion).sum(axis=0)
    pixels, inside = ideal.sum(), np.trace(ideal)
    best = scores(ideal).metrics
    lead = (
        f"Pixels of all test cells. {100 * (pixels - inside) / pixels:.2f} % of the "
        "pixels are on the wrong side of an outline, "
        f"{100 * (inside - np.trace(pooled)) / pixels:.2f} % "
        "have the class of another leukocyte. With these outlines and every class "
        f"right, mean IoU would be {best['mIoU']:.2f} % and pixel accuracy "
        f"{best['pixel_accuracy']:.2f} %."
    )
    return ShownConfusion(
        f"{result.name}: {result.conditions()}",
        lead,
        labels,
        tuple(map(tuple, pooled.tolist())),
        row_percent(pooled),
        cells,
        result.links,
    )


def terms() -> Section:
    """Return what the words of the tables mean."""
    rows = tuple(TableRow(pair, kind="term") for pair in TERMS.items())
    table = ResultTable(
        "words", "Words of the tables", ("word", "meaning"), rows, words=(0, 1)
    )
    lead = (
        "How intervals and tests are computed, and how often such intervals cover the "
        "truth, is in docs/statistics.md of the repository."
    )
    return Section("terms", "What the words mean", lead, (table,))
