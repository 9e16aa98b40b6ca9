"""Write the report of a comparison out of its published results, and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder, write_text
from leuko_mm.report.comparison import ComparisonReport, Section, render_comparison
from leuko_mm.report.comparison_plots import on_any_ground, plot_svg
from leuko_mm.report.comparison_text import csv_table, latex_table, markdown_page
from leuko_mm.workflows.pooled_results import (
    results_of,
    with_compared_folds,
    without_other_images,
)
from leuko_mm.workflows.published_runs import PublishedRuns, read_runs
from leuko_mm.workflows.report_cells_per_image import cells_per_image
from leuko_mm.workflows.report_confusions import confusions
from leuko_mm.workflows.report_development import (
    chosen_settings,
    developed,
    development,
)
from leuko_mm.workflows.report_differences import differences
from leuko_mm.workflows.report_extras import leakage, too_short
from leuko_mm.workflows.report_glance import at_a_glance
from leuko_mm.workflows.report_measurements import Measurements
from leuko_mm.workflows.report_paper_tables import paper_tables
from leuko_mm.workflows.report_plots import costs, learning, losses
from leuko_mm.workflows.report_sections import headlines, overview
from leuko_mm.workflows.report_seeds import other_seeds
from leuko_mm.workflows.report_terms import terms
from leuko_mm.workflows.report_words import float32_files
from leuko_mm.workflows.seed_trainings import first_trainings

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
