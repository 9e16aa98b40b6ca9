"""Sections of the comparison's report: what was measured, against what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from leuko_mm.classes import CLASSES
from leuko_mm.report.comparison import ResultTable, Section, TableRow, cell_text
from leuko_mm.report.run_report import Headline
from leuko_mm.workflows.pooled_results import (
    DEVELOPMENT_FOLD,
    FIVE_FOLDS,
    Result,
    shown_families,
    without_development,
)
from leuko_mm.workflows.report_measurements import (
    OUTLINE,
    Measurements,
    paper_method,
)
from leuko_mm.workflows.report_words import (
    TARGETS,
    encoder_of,
    precision_note,
    protocol_words,
    reading_words,
    setting_of,
)

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
