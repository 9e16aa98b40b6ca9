"""Pictures of the report's first section: every result with its interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from leuko_mm.classes import CLASSES
from leuko_mm.report.comparison import ResultFigure, Section
from leuko_mm.report.interval_plot import IntervalPlot, IntervalRow
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result, shown_families
from leuko_mm.workflows.report_measurements import Measurements
from leuko_mm.workflows.report_plots import WORDS, named_links
from leuko_mm.workflows.report_words import (
    TARGETS,
    encoder_words,
    protocol_words,
    setting_of,
)
from leuko_mm.workflows.settings import SETTINGS

# A picture of fewer methods would say no more than its table.
LEAST_METHODS = 3


def at_a_glance(results: Sequence[Result], figures: Measurements) -> Section:
    """Return results over all folds, and the methods that share a test, as pictures.

    Args:
        results: what is published.
        figures: of the results.
    """
    groups = [*_five_folds(results), *_methods(results)]
    shown = tuple(
        _figure(number, members, figures) for number, members in enumerate(groups, 1)
    )
    lead = (
        "The best mean IoU stands first. Bars are 95 % intervals over slides; rows "
        "whose bars overlap may still differ on the same cells, which is tested below."
        if shown
        else "Nothing is published on all five folds, and no "
        f"{LEAST_METHODS} methods on the same cells after equally long trainings."
    )
    return Section("glance", "At a glance", lead, figures=shown)


def _five_folds(results: Sequence[Result]) -> list[list[Result]]:
    """Return results over all folds by the images they were tested on."""
    groups: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        if result.scope == FIVE_FOLDS:
            groups[result.first.images].append(result)
    return [groups[images] for images in sorted(groups, key=str)]


def _methods(results: Sequence[Result]) -> list[list[Result]]:
    """Return methods of one test and length under the settings that all share."""
    found = []
    for members in shown_families(results):
        plain = [
            result
            for result in members
            if result.scope != FIVE_FOLDS
            and result.variant in SETTINGS
            and not result.first.reading
            and not result.first.options
        ]
        if len({result.method for result in plain}) >= LEAST_METHODS:
            found.append(plain)
    return found


def _figure(
    number: int, members: Sequence[Result], figures: Measurements
) -> ResultFigure:
    ranked = sorted(members, key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    lengths = {result.first.iterations for result in ranked}
    rows = []
    for result in ranked:
        words = setting_of(result)
        if len(lengths) > 1:
            words += f", {result.first.iterations} iterations"
        name = f"{result.method} ({encoder_words(result)})"
        measured = tuple(figures.of(result, list(WORDS)).values())
        rows.append(IntervalRow(name, words, measured))
    aimed = ranked[0].confusion.shape[-1] == len(CLASSES)
    levels = tuple(TARGETS[name] for name in WORDS) if aimed else ()
    lead = f"{protocol_words(*ranked)}."
    if aimed:
        lead += (
            f" Dashed: {TARGETS['mIoU']:.2f} % mean IoU, which the paper prints, and "
            f"{TARGETS['pixel_accuracy']:.2f} % pixel accuracy, our targets."
        )
    what = "All five folds" if ranked[0].scope == FIVE_FOLDS else "Methods"
    return ResultFigure(
        f"glance_{number}",
        f"{what}: {ranked[0].first.folder}, {ranked[0].scope}",
        IntervalPlot(tuple(rows), tuple(WORDS.values()), levels),
        lead,
        tuple(link for result in ranked for link in named_links(result)),
    )
