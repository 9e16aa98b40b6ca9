"""Scores of segmentations: confusion per cell, pooled metrics, tables."""

from leuko_mm.evaluation.cell_scores import Statistic, cell_figures, statistic
from leuko_mm.evaluation.confusion import (
    Scores,
    confusion_matrix,
    per_class_table,
    scores,
)
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
from leuko_mm.lazy import lazy_names

_HOMES = {"Cells": "metric", "LeukocyteMetric": "metric", "load_cells": "metric"}
__all__ = [
    "Difference",
    "DifferentCellsError",
    "Interval",
    "Scores",
    "Statistic",
    "bootstrap_interval",
    "bootstrap_intervals",
    "cell_figures",
    "confusion_matrix",
    "holm",
    "independent_difference",
    "paired_difference",
    "per_class_table",
    "same_cells",
    "scores",
    "statistic",
    *_HOMES,
]
__getattr__ = lazy_names(__name__, _HOMES)
