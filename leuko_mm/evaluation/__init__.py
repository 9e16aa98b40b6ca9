"""Scores of segmentations: confusion per cell, pooled metrics, tables."""

from leuko_mm.evaluation.confusion import (
    Scores,
    confusion_matrix,
    per_class_table,
    scores,
)
from leuko_mm.evaluation.metric import Cells, LeukocyteMetric, load_cells
from leuko_mm.evaluation.scores import Statistic, cell_figures, statistic
from leuko_mm.evaluation.statistics import (
    Difference,
    DifferentCellsError,
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    independent_difference,
    paired_difference,
    same_cells,
)

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
