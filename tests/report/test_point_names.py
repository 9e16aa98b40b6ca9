"""No name of a plot's points is written over another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from leuko_mm.report.comparison_plots import PlotPoint
from leuko_mm.report.point_names import name_points, spread


def named(points):
    """Return the figure and the texts beside its points."""
    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([p.x for p in points], [p.y for p in points], "o")
    name_points(axes, points, "#333333")
    figure.draw_without_rendering()
    return figure, axes


def test_names_of_points_on_one_spot_stand_apart_and_lines_lead_to_them():
    points = [PlotPoint(0, 0, "far"), PlotPoint(9, 100, "far, too")]
    points += [PlotPoint(4, 50 + k / 9, f"method {k}") for k in range(14)]
    _, axes = named(points)
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without lines
    assert not [a for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
    led = {text.get_text(): text.arrow_patch is not None for text in axes.texts}
    assert {name for name, line in led.items() if line} >= {"method 0", "method 13"}
    assert not led["far"]


def test_names_far_to_the_right_stay_in_the_figure():
    _, axes = named([PlotPoint(0, 0, "a"), PlotPoint(1, 1, "a name of length")])
    right = axes.texts[1].get_window_extent()
    assert axes.texts[1].get_ha() == "right"
    assert right.x1 < axes.transData.transform((1, 1))[0]


def test_words_in_other_columns_stay_where_they_are():
    wanted = np.array([5.0, 5.0, 5.0])
    left, right = np.array([0.0, 2.0, 0.5]), np.array([1.0, 3.0, 1.5])
    found = spread(wanted, left, right, gap=4)
    assert found[1] == 5
    assert abs(found[2] - found[0]) == pytest.approx(4, abs=0.01)


def test_nothing_is_named_where_there_is_nothing():
    assert not list(named([])[1].texts)
