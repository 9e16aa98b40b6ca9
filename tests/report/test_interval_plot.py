"""Plots of results below one another."""

from __future__ import annotations

import pytest

from leuko_mm.report.comparison_plots import INK, plot_svg
from leuko_mm.report.interval_plot import IntervalPlot, IntervalRow
from leuko_mm.report.measured import Measured

GOOD, BAD = Measured(90.0, 85.0, 93.0), Measured(60.0, 50.0, 70.0)
ROWS = (
    IntervalRow("first", "A", (GOOD, Measured(99.0))),
    IntervalRow("second", "A", (BAD, Measured(97.0, 96.0, 98.0))),
    IntervalRow("first", "B", (Measured(80.0, 75.0, 84.0), Measured(None))),
)
PLOT = IntervalPlot(ROWS, ("mean IoU, %", "pixel accuracy, %"), (91.89, 99.5))


def marks(axes):
    """Return (x, y) of every result's mark and the bars beside them."""
    drawn = [line for line, _, _ in axes.containers]
    points = [tuple(map(float, xy)) for line in drawn for xy in line.get_xydata()]
    bars = [bar for _, _, (lines,) in axes.containers for bar in lines.get_segments()]
    return points, [(float(bar[0][0]), float(bar[1][0])) for bar in bars]


def test_results_of_one_name_stand_together_in_the_order_of_the_rows():
    left, right = PLOT.figure().axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["first", "second"]
    points, bars = marks(left)
    heights = dict(points)
    assert heights[90.0] > heights[80.0] > heights[60.0]
    assert sorted(bars) == [(50.0, 70.0), (75.0, 84.0), (85.0, 93.0)]
    # A figure that is not there is left out, one without an interval has no bar.
    points, bars = marks(right)
    assert sorted(x for x, _ in points) == [97.0, 99.0]
    assert sorted(bars) == [(96.0, 98.0), (99.0, 99.0)]


def test_the_axes_hold_bars_and_levels():
    for axes, ends in zip(
        PLOT.figure().axes, [(50, 93, 91.89), (96, 99.5)], strict=True
    ):
        low, high = axes.get_xlim()
        assert low < min(ends) <= max(ends) < high
        bottom, top = axes.get_ylim()
        assert all(bottom < y < top for _, y in marks(axes)[0])


def test_the_same_plot_is_the_same_bytes_in_one_ink():
    assert plot_svg(PLOT) == plot_svg(PLOT)
    ink = "#010203"
    assert plot_svg(PLOT).count(INK.encode()) == plot_svg(PLOT, ink).count(ink.encode())
    assert INK.encode() not in plot_svg(PLOT, ink)


def test_every_series_is_in_the_legend_once():
    (legend,) = PLOT.figure().legends
    assert [text.get_text() for text in legend.get_texts()] == ["A", "B"]


@pytest.mark.parametrize("rows", [(), (IntervalRow("a", "A", (GOOD,)),)])
def test_what_lacks_figures_is_not_drawn(rows):
    with pytest.raises(ValueError, match="each of its 2 panels"):
        IntervalPlot(rows, PLOT.labels).figure()
