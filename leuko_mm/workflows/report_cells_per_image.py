"""Section of the report on one network and images of more or fewer cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.pooled_results import Result
from leuko_mm.workflows.published_runs import PublishedRun
from leuko_mm.workflows.report_extras import LEAKING
from leuko_mm.workflows.report_measurements import (
    Measurements,
    differences_to,
    measured,
)
from leuko_mm.workflows.report_sections import COMPARED
from leuko_mm.workflows.report_words import protocol_words, setting_of

NAME, TITLE = "counts", "Cells per image (section 4.4)"
HEADS = (
    "method",
    "setting",
    "image",
    "protocol",
    "mIoU",
    "more than on its own images",
    "pixel accuracy",
    "more than on its own images",
)


def cells_per_image(runs: Iterable[PublishedRun], figures: Measurements) -> Section:
    """Return one network's tests on mosaics of several kinds (section 4.4)."""
    networks: dict[tuple, list[Result]] = defaultdict(list)
    for run in runs:
        split = str(run.run.get("split"))
        honest = split not in LEAKING and not run.on_development
        if run.tiles > 1 and honest and not run.reading:
            networks[run.network, split].append(Result((run,), split))
    rows = []
    for key in sorted(networks, key=str):
        tests = sorted(networks[key], key=_by_images)
        if len({_images(result) for result in tests}) > 1:
            rows += _rows(tests, figures)
    if not rows:
        lead = "No network is published that was tested on several kinds of mosaics."
        return Section(NAME, TITLE, lead)
    lead = (
        "The same network and the same cells, which keep their size in pixels while "
        "the image grows, unless the protocol names an image of another size. The "
        "paper keeps its images at 512 px, so that its cells shrink as their number "
        "grows. Differences are paired, and to the kind of image that it was trained "
        "on. Images of one class hold as many cells as there are, and grey tiles."
    )
    table = ResultTable(
        "cells_per_image",
        "The same network, tested on several kinds of mosaics",
        HEADS,
        tuple(rows),
        words=(0, 1, 2, 3),
    )
    return Section(NAME, TITLE, lead, (table,))


def _rows(tests: Sequence[Result], figures: Measurements) -> list[TableRow]:
    own = min(tests, key=lambda r: (r.first.is_test, _by_images(r)))
    others = [result for result in tests if result is not own]
    compared, _ = differences_to(own, others, COMPARED)
    more = {id(one.first): one.differences for one in compared}
    rows = []
    for result in tests:
        cells = [
            result.method,
            setting_of(result),
            f"{result.first.tiles**2} cells, "
            f"{'of one class' if result.first.alike else 'mixed'}",
            protocol_words(result),
        ]
        for name in COMPARED:
            there = more.get(id(result))
            cells.append(figures.of(result, [name])[name])
            cells.append(measured(there[name]) if there else None)
        rows.append(TableRow(tuple(cells), result.links))
    return rows


def _images(result: Result) -> tuple[int, bool]:
    return result.first.tiles, result.first.alike


def _by_images(result: Result) -> tuple:
    return (*_images(result), str(result.variant))
