"""Sections of the report on leakage, and on runs that are too short."""

from __future__ import annotations

from collections.abc import Sequence

from leuko_mm.evaluation.paired import independent_difference
from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result, single_folds
from leuko_mm.workflows.published_runs import LEAST_ITERATIONS, PublishedRun
from leuko_mm.workflows.report_measurements import (
    RESAMPLES,
    SEED,
    Measurements,
    measured,
)
from leuko_mm.workflows.report_sections import COMPARED
from leuko_mm.workflows.report_words import protocol_words, setting_of, setting_words

# Splits that put cells of one slide on both sides.
LEAKING = ("paper_mosaics", "paper")
LEAKAGE_HEADS = (
    "method",
    "setting",
    "split",
    "mIoU",
    "minus the folds by slide",
    "pixel accuracy",
    "minus the folds by slide",
)


def leakage(results: Sequence[Result], figures: Measurements) -> Section:
    """Return what a random split adds to the figures of the same training."""
    tables = []
    for honest, leaking in _pairs(results):
        rows = [_leakage_row(honest, None, figures)]
        rows += [_leakage_row(result, honest, figures) for result in leaking]
        tables.append(
            ResultTable(
                f"leakage_{len(tables) + 1}",
                f"{honest.name}: {protocol_words(honest)}",
                LEAKAGE_HEADS,
                tuple(rows),
                words=(0, 1, 2),
            )
        )
    lead = (
        "The same method, trained anew and equally long on images of the same size. "
        "The split paper divides cells at random, paper_mosaics mosaics of cells, as "
        "the paper did: both put a slide on both sides. A difference is not of the "
        "split alone: they test other cells than the folds, and learn from other "
        "numbers of them. It is not paired; its interval is over slides, then cells."
        if tables
        else "No training on the splits paper or paper_mosaics is published beside one "
        "of the same length on folds that divide no slide."
    )
    return Section("leakage", "What a random split adds", lead, tuple(tables))


def _pairs(results: Sequence[Result]) -> list[tuple[Result, list[Result]]]:
    """Return each honest result with the leaking ones that were trained alike."""
    found = []
    candidates = [r for r in results if r.scope == FIVE_FOLDS]
    candidates += [r for r in results if r.scope.startswith("fold")]
    candidates += single_folds(results)
    done = set()
    for honest in candidates:
        key = _training(honest)
        leaking = [
            r for s in LEAKING for r in results if r.scope == s and _training(r) == key
        ]
        if leaking and key not in done:
            done.add(key)
            found.append((honest, leaking))
    return found


def _training(result: Result) -> tuple:
    run = result.first
    size = run.results["data"].get("size")
    # How mosaics are dealt is a matter of the split itself.
    where = run.folder, run.results["data"]["dataset"], size, run.tiles
    return (*where, run.iterations, result.method, result.variant, result.seed)


def _leakage_row(
    result: Result, honest: Result | None, figures: Measurements
) -> TableRow:
    cells: list = [result.method, setting_of(result)]
    cells.append(f"{result.scope}, {len(result.stems)} cells")
    for name in COMPARED:
        cells.append(figures.of(result, [name])[name])
        if honest is None:
            cells.append(None)
            continue
        sides = ((r.confusion, r.groups) for r in (result, honest))
        how = dict(resamples=RESAMPLES, seed=SEED)
        cells.append(measured(independent_difference(*sides, name, **how)))
    return TableRow(tuple(cells), result.links)


def too_short(runs: Sequence[PublishedRun]) -> Section | None:
    """Return the runs whose figures are not printed, None if there are none."""
    if not runs:
        return None
    rows = [
        TableRow((run.method, setting_words(run.variant), run.iterations), (run.link,))
        for run in runs
    ]
    table = ResultTable(
        "too_short",
        f"Runs of fewer than {LEAST_ITERATIONS} iterations",
        ("method", "setting", "iterations"),
        tuple(rows),
        words=(0, 1),
    )
    return Section("short", "Not printed as results", "Too short to judge.", (table,))
