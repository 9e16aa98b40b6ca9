"""Write the report of a comparison out of its published results, and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.classes import CLASSES
from leuko_mm.comparison.measurements import (
    CLASS_COUNT,
    Measurements,
    first_trainings,
    float32_files,
    headlines,
    overview,
    paper_method,
    protocol_words,
)
from leuko_mm.comparison.paper_tables import paper_tables
from leuko_mm.comparison.report_differences import (
    cells_per_image,
    chosen_settings,
    developed,
    development,
    differences,
    leakage,
    other_seeds,
    too_short,
)
from leuko_mm.comparison.report_plots import at_a_glance, costs, learning, losses
from leuko_mm.comparison.results import (
    FIVE_FOLDS,
    PublishedRuns,
    Result,
    read_runs,
    results_of,
    with_compared_folds,
    without_other_images,
)
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.cell_scores import majority_classes, with_classes_right
from leuko_mm.evaluation.confusion import scores
from leuko_mm.files import replace_folder, write_text
from leuko_mm.report.comparison import (
    ComparisonReport,
    ResultTable,
    Section,
    ShownConfusion,
    TableRow,
    csv_table,
    latex_table,
    markdown_page,
    render_comparison,
)
from leuko_mm.report.plots import on_any_ground, plot_svg
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.config import SETTINGS
from leuko_mm.training.run_report import row_percent

TERMS = {
    **{f"setting {name}": setting.words for name, setting in SETTINGS.items()},
    "setting own": "as the method's file has it: for the CBAM U-Net the raw image with "
    "focal + Dice loss",
    "other settings": "names of ours. In brackets stands what the training's command "
    "changed in the method's file; without brackets the recipe is that of the file at "
    "the commit that the results file names, so with former",
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


def confusions(results: Sequence[Result], chosen: Sequence[Result] = ()) -> Section:
    """Return what the CBAM U-Net still confuses, over as many cells as there are.

    Args:
        results: what is published.
        chosen: what was chosen on the development fold, the best there first.
    """
    many = [r for r in results if r.confusion.shape[-1] == CLASS_COUNT]
    whole = [r for r in many if r.scope == FIVE_FOLDS] or many
    first = paper_method([r for r in whole if r.scope != "paper_mosaics"])
    if first is None:
        lead = "No run of the CBAM U-Net is published."
        return Section("confusions", "The confusions that remain", lead)
    shown = [_shown(first, "confused_cells")]
    if chosen and chosen[0] is not first:
        shown.append(_shown(chosen[0], "confused_cells_chosen"))
    return Section("confusions", "The confusions that remain", confusions=tuple(shown))


def _shown(result: Result, name: str) -> ShownConfusion:
    pooled = result.confusion.sum(axis=0)
    labels = tuple(ClassLabel(c.name, c.aliases[0], c.colour) for c in CLASSES)
    truth, majority = majority_classes(result.confusion)
    rows = []
    for label, row in zip(labels[1:], range(1, CLASS_COUNT), strict=True):
        of_class = majority[truth == row]
        counts = np.bincount(of_class, minlength=CLASS_COUNT).tolist()
        rows.append(TableRow((label.name, *counts), result.links))
    cells = ResultTable(
        name,
        "Whole cells: true class, and the class of most of their pixels",
        ("true class", "no leukocyte pixel", *(label.name for label in labels[1:])),
        tuple(rows),
    )
    return ShownConfusion(
        f"{result.name}: {protocol_words(result)}",
        f"Pixels of all test cells. {_where_wrong(result)}",
        labels,
        tuple(map(tuple, pooled.tolist())),
        row_percent(pooled),
        cells,
        result.links,
    )


def _where_wrong(result: Result) -> str:
    """Say how many wrong pixels are of outlines, how many of classes."""
    ideal = with_classes_right(result.confusion).sum(axis=0)
    right = np.trace(result.confusion.sum(axis=0))
    pixels = ideal.sum()
    figures = scores(ideal).metrics
    return (
        f"{100 * (pixels - np.trace(ideal)) / pixels:.2f} % of the pixels are on the "
        f"wrong side of an outline, {100 * (np.trace(ideal) - right) / pixels:.2f} % "
        "have the class of another leukocyte. With these outlines and every class "
        f"right, mean IoU would be {figures['mIoU']:.2f} % and pixel accuracy "
        f"{figures['pixel_accuracy']:.2f} %."
    )


PAGE = "report.html"
# Everything else that the report consists of; replaced as a whole.
FOLDER = "report"
TEXT = "report.md"
CLOSING = (
    "Every figure is computed from the results files that stand beside it; the last "
    "state of each training is what is scored. For research, not for diagnosis."
)


@dataclass(frozen=True)
class ReportOutcome:
    """What was written.

    Args:
        written: files.
        runs: how many runs the report is of.
        faults: a line on each results file that could not be read.
    """

    written: tuple[Path, ...]
    runs: int
    faults: tuple[str, ...]


def write_report(results: Path) -> ReportOutcome:
    """Write ``report.html`` and ``report/`` into the folder of the results.

    The same results give the same bytes, whenever and wherever they are read.

    Raises:
        UsageError: if there are no results, or something else stands there.
    """
    runs = read_runs(results)
    if not runs.runs and not runs.short:
        said = f" ({'; '.join(runs.faults)})" if runs.faults else ""
        raise UsageError(
            f"{results} holds no results{said}; make some with\n"
            "    leuko compare --protocol half"
        )
    _refuse_foreign(results)
    report = gather_report(runs, results)
    written = _write(results, report)
    return ReportOutcome(written, len(runs.runs), runs.faults)


def gather_report(runs: PublishedRuns, folder: Path) -> ComparisonReport:
    """Return the report as plain data.

    Args:
        runs: what is published.
        folder: where, for what stands beside the results files.
    """
    figures = Measurements()
    first = first_trainings(runs.runs)
    results = results_of(without_other_images(first))
    chosen = chosen_settings(results, first)
    sections = [
        at_a_glance(results, figures),
        overview(results, figures, developed(first)),
        differences(results),
        other_seeds(without_other_images(runs.runs)),
        paper_tables(with_compared_folds(results), figures),
        leakage(results, figures),
        cells_per_image(first, figures),
        confusions(results, chosen),
        costs(results, figures, folder),
        learning(first, figures),
        losses(first, folder),
        development(results, first, figures),
        too_short(runs.short),
        terms(),
    ]
    return ComparisonReport(
        _summary(runs),
        headlines(results, figures, chosen),
        tuple(section for section in sections if isinstance(section, Section)),
        " ".join(filter(None, (CLOSING, _precision(runs), _uncommitted(runs)))),
    )


def _summary(runs: PublishedRuns) -> str:
    methods = {run.method for run in runs.runs}
    protocols = sorted({run.folder for run in runs.runs})
    tests = sum(run.is_test for run in runs.runs)
    said = _counted(len(runs.runs) - tests, "training")
    said += f" of {_counted(len(methods), 'method')}"
    where = f" under {', '.join(protocols)}" if protocols else ""
    more = (
        f", and {_counted(tests, 'other test')} of what they trained" if tests else ""
    )
    return f"{said}{where}{more}, each beside its results file."


def _precision(runs: PublishedRuns) -> str:
    names = float32_files(runs.runs)
    if not names:
        return ""
    return (
        f"Trained in float32, where others multiplied in bfloat16: {', '.join(names)}."
    )


def _uncommitted(runs: PublishedRuns) -> str:
    names = [run.file for run in runs.runs if run.uncommitted]
    if not names:
        return ""
    return (
        "While these ran, files of the repository were changed and not committed, so "
        f"their commit may not be all of their code: {', '.join(names)}."
    )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _refuse_foreign(results: Path) -> None:
    folder = results / FOLDER
    ours = {TEXT, "tables", "figures"}
    if folder.exists() and (
        not folder.is_dir() or {path.name for path in folder.iterdir()} - ours
    ):
        raise UsageError(
            f"{folder} holds other things than a report, so it is not replaced; move "
            "them away"
        )


def _write(results: Path, report: ComparisonReport) -> tuple[Path, ...]:
    building = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=results))
    try:
        pictures = {figure.name: plot_svg(figure.plot) for figure in report.figures}
        names = _write_parts(building, report, pictures)
        files = {table.name: f"{FOLDER}/tables/{table.name}" for table in report.tables}
        page = render_comparison(report, pictures, files)
        replace_folder((results / FOLDER).resolve(), building)
        write_text(results / PAGE, page)
    except OSError as error:
        raise UsageError(
            f"the report was not written into {results} ({error}); mend the cause"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return (results / PAGE, *(results / FOLDER / name for name in names))


def _write_parts(
    building: Path, report: ComparisonReport, pictures: Mapping[str, bytes]
) -> Sequence[str]:
    for name in ("tables", "figures"):
        (building / name).mkdir()
    places = {name: f"figures/{name}.svg" for name in pictures}
    texts = {TEXT: markdown_page(report, places, "../")}
    for table in report.tables:
        texts[f"tables/{table.name}.csv"] = csv_table(table)
        texts[f"tables/{table.name}.tex"] = latex_table(table)
    for name, text in texts.items():
        (building / name).write_text(text, encoding="utf-8")
    for name, drawn in pictures.items():
        (building / places[name]).write_bytes(on_any_ground(drawn))
    return (*texts, *places.values())
