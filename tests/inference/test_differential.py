"""The differential count and its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.inference.differential import (
    differential,
    differential_of_counts,
    wilson_interval,
)
from leuko_mm.inference.prediction import Cell, ImageScale, Prediction


def a_cell(number: int, class_id: int, *, border: bool = False) -> Cell:
    probabilities = [0.0] * len(CLASS_NAMES)
    probabilities[class_id] = 1.0
    return Cell(
        id=number,
        class_id=class_id,
        confidence=1.0,
        probabilities=tuple(probabilities),
        background=0.1,
        area=12,
        centroid=(3.0, 4.0),
        box=(1, 2, 5, 6),
        touches_border=border,
        eccentricity=0.0,
        solidity=1.0,
        circularity=1.0,
    )


def a_prediction(*cells: Cell, classes=CLASS_NAMES) -> Prediction:
    return Prediction(
        labels=np.zeros((8, 9), np.uint8),
        instances=np.zeros((8, 9), np.int32),
        cells=cells,
        classes=classes,
        colours=CLASS_COLOURS,
        scale=ImageScale(1.0, "factor", 1.0),
    )


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("total", [1, 7, 40, 1000])
def test_the_interval_is_that_of_scipy(total, level):
    for count in {0, 1, total // 3, total - 1, total}:
        theirs = binomtest(count, total).proportion_ci(level, method="wilson")
        ours = wilson_interval(count, total, level=level)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_counted_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    (row,) = differential_of_counts({"monocyte": 0})
    assert (row.percent, row.low, row.high) == (0.0, 0.0, 100.0)


@pytest.mark.parametrize(("count", "total"), [(-1, 3), (4, 3)])
def test_a_count_that_cannot_be_is_refused(count, total):
    with pytest.raises(ValueError, match=f"{count} of {total}"):
        wilson_interval(count, total)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_that_cannot_be_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        wilson_interval(1, 2, level=level)


def test_cells_of_many_images_are_counted_together():
    one = a_prediction(a_cell(1, 5), a_cell(2, 3))
    other = a_prediction(a_cell(1, 5), a_cell(2, 5, border=True))
    rows = {row.name: row for row in differential(iter([one, other]))}
    assert list(rows) == list(CLASS_NAMES[1:])
    assert (rows["neutrophil"].count, rows["neutrophil"].percent) == (3, 75.0)
    assert rows["basophil"].count == 0
    assert sum(row.percent for row in rows.values()) == pytest.approx(100)
    inner = {row.name: row.count for row in differential([other], border=False)}
    assert inner["neutrophil"] == 1


def test_counts_name_every_class_but_background():
    counts = a_prediction(a_cell(1, 2)).counts
    assert dict(counts) == {name: int(name == "eosinophil") for name in counts}
    assert "background" not in counts
    with pytest.raises(TypeError):
        counts["eosinophil"] = 3


def test_predictions_of_different_models_are_not_mixed():
    binary = a_prediction(classes=("background", "leukocyte"))
    with pytest.raises(ValueError, match="one model"):
        differential([a_prediction(), binary])
