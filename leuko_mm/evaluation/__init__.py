"""Scores of segmentations: confusion per cell, pooled metrics, tables."""

from leuko_mm.evaluation.confusion import Scores, confusion_matrix, scores
from leuko_mm.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
)
from leuko_mm.evaluation.leukocyte_metric import Cells, LeukocyteMetric, load_cells
from leuko_mm.evaluation.paired import (
    Difference,
    holm,
    independent_difference,
    paired_difference,
)
from leuko_mm.evaluation.same_cells import DifferentCellsError, same_cells
from leuko_mm.evaluation.statistic import Statistic, cell_figures, statistic
from leuko_mm.evaluation.tables import per_class_table

__all__ = [
    "Cells",
    "Difference",
    "DifferentCellsError",
    "Interval",
    "LeukocyteMetric",
    "Scores",
    "Statistic",
    "bootstrap_interval",
    "bootstrap_intervals",
    "cell_figures",
    "confusion_matrix",
    "holm",
    "independent_difference",
    "load_cells",
    "paired_difference",
    "per_class_table",
    "same_cells",
    "scores",
    "statistic",
]
