"""Sections of the comparison's report: what was measured, against what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leuko_mm.classes import CLASSES
from leuko_mm.report.comparison import (
    ResultTable,
    Section,
    TableRow,
)
from leuko_mm.report.run_report import Headline
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result, shown_families
from leuko_mm.workflows.report_measurements import (
    OUTLINE,
    Measurements,
    differences_to,
    measured,
    paper_method,
)
from leuko_mm.workflows.settings import SETTINGS

TARGET = {"mIoU": 91.89, "pixel_accuracy": 99.0}
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


def setting_words(variant: str | None) -> str:
    """Say what a variant is.

    Example:
        >>> setting_words("A"), setting_words(None)
        ('A: raw image, cross-entropy', 'as its file has it')
        >>> setting_words("A-views8")
        'A: raw image, cross-entropy; views8'
    """
    if variant is None:
        return "as its file has it"
    setting, _, rest = variant.partition("-")
    if setting in SETTINGS:
        said = f"{setting}: {SETTINGS[setting].words}"
        return f"{said}; {rest}" if rest else said
    return variant


def setting_of(result: Result) -> str:
    """Say what a result's variant is, how it was read, and a seed other than 0."""
    words = [setting_words(result.variant), *reading_words(result.first.reading)]
    return ", ".join(words + [f"seed {result.seed}"] * bool(result.seed))


def reading_words(reading: Mapping) -> list[str]:
    """Say how cells were read from a network's answer; nothing: pixel by pixel.

    Example:
        >>> reading_words(dict(least_area=250, views=8))
        ['one class a cell', 'eight views']
    """
    words = ["one class a cell"] * ("least_area" in reading)
    return words + ["eight views"] * ("views" in reading)


def protocol_words(result: Result) -> str:
    """Say under what a result was made: protocol, test, length, images."""
    run = result.first
    size = run.results["data"].get("size")
    image = f"{run.tiles}x{run.tiles} cells" if run.tiles > 1 else "single cells"
    return (
        f"{run.folder}, {result.scope} ({len(result.stems)} cells), "
        f"{run.iterations} iterations, {image}{f' on {size} px' if size else ''}"
    )


def overview(results: Sequence[Result], figures: Measurements) -> Section:
    """Return the section of every result, the five-fold ones first."""
    tables = []
    for members in shown_families(results):
        tables.append(_overview_table(members, figures, len(tables) + 1))
    lead = (
        "Percent, with 95 % intervals over slides, then over cells within slides; they "
        "do not tell of another training. The best mIoU comes first. Only figures of "
        "one table may be compared."
    )
    if not any(result.scope == FIVE_FOLDS for result in results):
        lead += (
            " No method is published on all five folds yet, so no figure here is of "
            "every cell."
        )
    return Section("results", "Results", lead, tuple(tables))


def _overview_table(
    members: Sequence[Result], figures: Measurements, number: int
) -> ResultTable:
    ranked = sorted(members, key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    many = ranked[0].confusion.shape[-1] == CLASS_COUNT
    outlined = any(result.boundary is not None for result in ranked)
    lacking = {"right_class": not many, OUTLINE: not outlined}
    heads = {name: head for name, head in SHOWN.items() if not lacking.get(name)}
    rows = [
        TableRow(
            (r.method, setting_of(r), *figures.of(r, list(heads)).values()),
            r.links,
        )
        for r in ranked
    ]
    columns = ("method", "setting", *heads.values())
    title = protocol_words(ranked[0])
    return ResultTable(f"results_{number}", title, columns, tuple(rows), words=(0, 1))


def headlines(results: Sequence[Result], figures: Measurements) -> tuple[Headline, ...]:
    """Return the CBAM U-Net's first figures, over as many cells as one result has."""
    many = [r for r in results if r.confusion.shape[-1] == CLASS_COUNT]
    whole = [r for r in many if r.scope == FIVE_FOLDS]
    folds = [r for r in many if r.scope.startswith("fold")]
    # The fold with the most cells, never the one that happened to go best.
    folds.sort(key=lambda r: (-len(r.stems), r.scope))
    chosen = paper_method(whole) or paper_method(folds)
    if chosen is None:
        return ()
    shown = []
    for name, words in (("mIoU", "mean IoU"), ("pixel_accuracy", "pixel accuracy")):
        found = figures.of(chosen, [name])[name]
        note = (
            f"[{found.low:.2f}, {found.high:.2f}]; {chosen.name}, "
            f"{protocol_words(chosen)}; the target is {TARGET[name]:.2f}"
        )
        shown.append(Headline(words, found.value, note))
    return tuple(shown)


def differences(results: Sequence[Result], figures: Measurements) -> Section:
    """Return the paired differences to the CBAM U-Net and to the best of a family."""
    tables = []
    for members in (m for m in shown_families(results) if len(m) > 1):
        best = max(members, key=lambda r: figures.of(r, ["mIoU"])["mIoU"].value)
        for words, reference in (
            ("the CBAM U-Net", paper_method(members)),
            ("the best", best),
        ):
            repeated = words == "the best" and reference is paper_method(members)
            if reference is not None and not repeated:
                number = len(tables) + 1
                tables.append(_differences(reference, members, words, number))
    lead = (
        "Each method minus the reference on the same cells, in points of percent, with "
        "95 % intervals over slides, then cells. p is two-sided, of a permutation test "
        "that swaps whole slides; beside it stands p after Holm's correction over the "
        "methods of the table."
        if tables
        else "No two methods are published on the same cells and trained alike yet."
    )
    return Section("differences", "Differences on the same cells", lead, tuple(tables))


def _differences(
    reference: Result, members: Sequence[Result], words: str, number: int
) -> ResultTable:
    others = [member for member in members if member is not reference]
    found, odd = differences_to(reference, others, COMPARED)
    rows = [
        TableRow(
            (
                c.first.name,
                *(
                    cell
                    for name in COMPARED
                    for cell in (
                        measured(c.differences[name]),
                        f"{c.differences[name].p:.4f}",
                        f"{c.corrected[name]:.4f}",
                    )
                ),
            ),
            c.first.links,
        )
        for c in sorted(found, key=lambda c: -c.differences["mIoU"].value)
    ]
    return ResultTable(
        f"differences_{number}",
        f"Against {words}, {reference.name}: {protocol_words(reference)}",
        (
            "method",
            *(
                f"{n}{w}"
                for n in ("mIoU", "pixel accuracy")
                for w in ("", ", p", ", Holm")
            ),
        ),
        tuple(rows),
        note=" ".join(odd),
    )
