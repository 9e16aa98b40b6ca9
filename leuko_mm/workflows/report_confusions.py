"""Section of the report on what the CBAM U-Net still takes for something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.classes import CLASSES
from leuko_mm.evaluation.cell_scores import majority_classes, with_classes_right
from leuko_mm.evaluation.confusion import scores
from leuko_mm.report.comparison import ResultTable, Section, ShownConfusion, TableRow
from leuko_mm.report.run_report import ClassLabel
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result
from leuko_mm.workflows.report_measurements import paper_method
from leuko_mm.workflows.report_sections import CLASS_COUNT
from leuko_mm.workflows.report_words import protocol_words
from leuko_mm.workflows.run_report import row_percent


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
