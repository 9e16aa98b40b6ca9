"""From an image of a smear to its cells: scale, tiles, cells, differential count."""

from __future__ import annotations

from leuko_mm.inference.cells import (
    Cell,
    DifferentialRow,
    ImageScale,
    Prediction,
    differential,
)

__all__ = [
    "Cell",
    "DifferentialRow",
    "ImageScale",
    "Prediction",
    "Predictor",
    "differential",
]


def __getattr__(name: str) -> type:
    # Results can be read and counted without waiting for torch.
    if name == "Predictor":
        from leuko_mm.stack import require_stack

        require_stack()
        from leuko_mm.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
