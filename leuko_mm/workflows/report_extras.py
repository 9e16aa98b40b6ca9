"""Sections of the report on leakage, cells per image, ideas tried, and short runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from leuko_mm.evaluation.paired import independent_difference
from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result, single_folds
from leuko_mm.workflows.published_runs import (
    DEVELOPMENT,
    LEAST_ITERATIONS,
    PublishedRun,
)
from leuko_mm.workflows.report_measurements import (
    RESAMPLES,
    SEED,
    Measurements,
    measured,
)
from leuko_mm.workflows.report_sections import (
    COMPARED,
    protocol_words,
    setting_of,
    setting_words,
)

# Splits that put cells of one slide on both sides.
LEAKING = ("paper_mosaics", "paper")
LEAKAGE_HEADS = (
    "method",
    "setting",
    "split",
    "mIoU",
    "more than by slides",
    "pixel accuracy",
    "more than by slides",
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
        "The same network, trained equally long on images of the same size. The split "
        "paper divides cells at random, paper_mosaics mosaics of all cells, as the "
        "paper did: both put a slide on both sides. The test cells differ, so the "
        "differences are not paired; their intervals are over slides, then cells."
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


def cells_per_image(runs: Iterable[PublishedRun], figures: Measurements) -> Section:
    """Return one network's tests on mosaics of several kinds (section 4.4)."""
    networks = defaultdict(list)
    for run in runs:
        split = str(run.run.get("split"))
        honest = split not in LEAKING and not run.on_development
        if run.tiles > 1 and honest and not run.reading:
            networks[run.network, split].append(Result((run,), split))
    kinds = {
        key: {(r.first.tiles, r.first.alike) for r in tests}
        for key, tests in networks.items()
    }
    tiled = [r for key, tests in networks.items() if len(kinds[key]) > 1 for r in tests]
    rows = [
        TableRow(
            (
                r.method,
                setting_of(r),
                f"{r.first.tiles**2} cells, "
                f"{'of one class' if r.first.alike else 'mixed'}",
                protocol_words(r),
                *figures.of(r, COMPARED).values(),
            ),
            r.links,
        )
        for r in sorted(
            tiled,
            key=lambda r: (r.method, r.first.tiles, r.first.alike, str(r.variant)),
        )
    ]
    if not rows:
        lead = "No network is published that was tested on several kinds of mosaics."
        return Section("counts", "Cells per image (section 4.4)", lead)
    table = ResultTable(
        "cells_per_image",
        "The same network, tested on several kinds of mosaics",
        ("method", "setting", "image", "protocol", "mIoU", "pixel accuracy"),
        tuple(rows),
        words=(0, 1, 2, 3),
    )
    return Section("counts", "Cells per image (section 4.4)", tables=(table,))


def _by_images(result: Result) -> tuple:
    run = result.first
    return result.method, run.tiles, run.alike, str(result.variant)


def development(runs: Iterable[PublishedRun], figures: Measurements) -> Section:
    """Return what was tried on the development fold."""
    tried = [
        Result((run,), DEVELOPMENT)
        for run in runs
        if run.run.get("split") == DEVELOPMENT
    ]
    tried.sort(key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    rows = [
        TableRow(
            (
                r.method,
                setting_of(r),
                r.first.folder,
                r.first.iterations,
                *figures.of(r, COMPARED).values(),
            ),
            r.links,
        )
        for r in tried
    ]
    heads = ("method", "setting", "protocol", "iterations", "mIoU", "pixel accuracy")
    table = ResultTable(
        "tried",
        "Trained on folds 1 to 3, tested on fold 4",
        heads,
        tuple(rows),
        words=(0, 1, 2),
    )
    lead = (
        "Settings were chosen here, and fold 5 is in neither part. The figures say "
        "which idea helped, and stand for nothing else."
        if rows
        else "No run on the development fold is published."
    )
    tables = (table,) if rows else ()
    return Section("development", "Tried on the development fold", lead, tables)


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
