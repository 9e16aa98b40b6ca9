"""Scores of segmentations: confusion per cell, pooled metrics, tables."""

from leuko_mm.evaluation.confusion import Scores, confusion_matrix, scores
from leuko_mm.evaluation.leukocyte_metric import Cells, LeukocyteMetric, load_cells
from leuko_mm.evaluation.tables import per_class_table

__all__ = [
    "Cells",
    "LeukocyteMetric",
    "Scores",
    "confusion_matrix",
    "load_cells",
    "per_class_table",
    "scores",
]
