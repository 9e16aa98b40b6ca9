"""Section of the report on the development fold: what was tried, and the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.pooled_results import DEVELOPMENT_FOLD, FIVE_FOLDS, Result
from leuko_mm.workflows.published_runs import DEVELOPMENT, PublishedRun
from leuko_mm.workflows.report_differences import difference_table
from leuko_mm.workflows.report_measurements import (
    Measurements,
    paper_method,
)
from leuko_mm.workflows.report_sections import CLASS_COUNT, COMPARED
from leuko_mm.workflows.report_words import setting_of

TRIED = (*COMPARED, "right_class")
TRIED_HEADS = ("mIoU", "pixel accuracy", "cells of the right class")


def chosen_settings(
    results: Iterable[Result], runs: Iterable[PublishedRun]
) -> list[Result]:
    """Return results on all folds of what was tried on the development fold first.

    Of all classes: leukocyte against background is another question.
    The best on the development fold comes first: what they reach on the folds chooses
    nothing.
    """
    reached = {_recipe(run): run.mean_iou for run in _tried(runs)}
    found = [
        result
        for result in results
        if result.scope == FIVE_FOLDS
        and result.confusion.shape[-1] == CLASS_COUNT
        and _recipe(result.first) in reached
    ]
    return sorted(found, key=lambda result: -reached[_recipe(result.first)])


def developed(runs: Iterable[PublishedRun]) -> set[str]:
    """Return the datasets on whose development fold settings were tried."""
    return {run.results["data"]["dataset"] for run in _tried(runs)}


def development(
    results: Sequence[Result], runs: Sequence[PublishedRun], figures: Measurements
) -> Section:
    """Return what was tried on the development fold, and the choice on all folds."""
    tried = [Result((run,), DEVELOPMENT) for run in _tried(runs)]
    tried.sort(key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    tables = [
        _tried_table(folder, [r for r in tried if r.first.folder == folder], figures)
        for folder in sorted({r.first.folder for r in tried})
    ]
    lead = (
        "Trained on folds 1 to 3, tested on fold 4; fold 5 is in neither part. "
        "Settings were chosen here, by the higher figure of one training each, and "
        "the figures stand for nothing else."
        if tables
        else "No run on the development fold is published."
    )
    chosen = chosen_settings(results, runs)
    reference = paper_method([r for r in results if r.scope == FIVE_FOLDS])
    if chosen and reference is not None and chosen[0] is not reference:
        tables = [*_chosen_tables(reference, chosen, results, figures), *tables]
    return Section("development", "Tried on the development fold", lead, tuple(tables))


def _tried(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    return [run for run in runs if run.run.get("split") == DEVELOPMENT]


def _recipe(run: PublishedRun) -> tuple:
    return (*run.likeness, run.method, run.variant, run.run.get("seed"))


def _chosen_tables(
    reference: Result,
    chosen: Sequence[Result],
    results: Sequence[Result],
    figures: Measurements,
) -> list[ResultTable]:
    """Return the choice on all folds, and what else is there on the same cells."""
    others = [result for result in chosen if result is not reference]
    rows = [_figures_row(result, figures) for result in (*others, reference)]
    absolute = ResultTable(
        "chosen",
        f"What was chosen, on {reference.scope} ({len(reference.stems)} cells)",
        ("method", "setting", "iterations", *TRIED_HEADS),
        tuple(rows),
        note=f"The choice knew the cells of {DEVELOPMENT_FOLD}, which are among these; "
        "the table of all results has the figures without them.",
        words=(0, 1),
    )
    first = chosen[0]
    differences = difference_table(
        "chosen_differences",
        f"All others on the same cells, against {first.name}: {setting_of(first)}, "
        f"{first.first.iterations} iterations",
        first,
        [result for result in results if _comparable(result, first)],
        third=("iterations", lambda result: result.first.iterations),
        note="Each row minus the choice. Setting, length and post-processing differ at "
        "once: this says what choosing gained, not which of them did. Where nothing "
        "was chosen for a method, it does not say which method is better.",
    )
    return [absolute, differences]


def _comparable(one: Result, other: Result) -> bool:
    """Tell whether both are of all folds of one dataset, in the same classes."""
    sides = [
        (r.scope, r.first.results["data"]["dataset"], r.confusion.shape[-1])
        for r in (one, other)
    ]
    return sides[0] == sides[1]


def _figures_row(result: Result, figures: Measurements) -> TableRow:
    cells = result.method, setting_of(result), result.first.iterations
    return TableRow((*cells, *figures.of(result, TRIED).values()), result.links)


def _tried_table(
    folder: str, tried: Sequence[Result], figures: Measurements
) -> ResultTable:
    return ResultTable(
        f"tried_{folder.replace('-', '_')}",
        f"Tried under {folder}",
        ("method", "setting", "iterations", *TRIED_HEADS),
        tuple(_figures_row(result, figures) for result in tried),
        words=(0, 1),
    )
