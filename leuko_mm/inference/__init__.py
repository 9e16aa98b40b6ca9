"""From an image of a smear to its cells: scale, tiles, cells, differential count."""

from leuko_mm.inference.cells import (
    Cell,
    DifferentialRow,
    ImageScale,
    Prediction,
    differential,
)
from leuko_mm.inference.predictor import Predictor

__all__ = [
    "Cell",
    "DifferentialRow",
    "ImageScale",
    "Prediction",
    "Predictor",
    "differential",
]
