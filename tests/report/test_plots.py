"""Loss curves, plots of points, and results below one another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from leuko_mm.report.html import Measured
from leuko_mm.report.plots import (
    DARK_INK,
    INK,
    IntervalPlot,
    IntervalRow,
    Plot,
    PlotPoint,
    PlotSeries,
    loss_curve,
    name_points,
    on_any_ground,
    plot_svg,
    smoothed,
    spread,
)

POINTS = (PlotPoint(1, 2, "one", 1.5, 2.5), PlotPoint(3, 4, "two"))
KINDS = ("points", "joined", "lines")


def plot(kind="points", names=("a", "b")):
    series = tuple(PlotSeries(name, POINTS) for name in names)
    return Plot(series, "x", "y", kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_plot_is_the_same_bytes_without_a_date(kind):
    drawn = plot_svg(plot(kind))
    assert drawn == plot_svg(plot(kind))
    assert b"dc:date" not in drawn
    assert b"Matplotlib" not in drawn.split(b"<defs>")[0]
    assert drawn != plot_svg(plot(kind, names=("a",)))


def test_a_file_turns_light_on_dark_ground_and_is_the_same_on_light():
    drawn = plot_svg(plot())
    either = on_any_ground(drawn)
    rules = either[either.index(b"@media") : either.index(b"</style>")].decode()
    assert either.replace(rules.encode(), b"") == drawn
    assert rules.startswith("@media (prefers-color-scheme: dark){")
    assert rules.count("{") == rules.count("}") == 3
    for kind in ("fill", "stroke"):
        # As matplotlib writes it, or the rule would meet nothing.
        assert f"{kind}: {INK}".encode() in drawn
        assert f'[style*="{kind}: {INK}"]{{{kind}: {DARK_INK} !important}}' in rules


@pytest.mark.parametrize("kind", KINDS)
def test_the_axes_hold_every_point_and_its_interval(kind):
    axes = plot(kind).figure().axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert 0 < left < 1
    assert 3 < right < 4
    assert 1 < bottom < (2 if kind == "lines" else 1.5)
    assert 4 < top < 5


def test_smoothing_against_a_plain_loop():
    values = np.random.default_rng(0).normal(size=30)
    window, half = 7, 3
    expected = [
        values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))
    ]
    np.testing.assert_allclose(smoothed(values, window), expected, atol=1e-12)


def test_window_of_one_and_window_beyond_the_series():
    assert smoothed([3.0, 1.0], 1).tolist() == [3.0, 1.0]
    assert smoothed([3.0, 1.0], 9).tolist() == [2.0, 2.0]


def test_gaps_do_not_spread():
    values = [1.0, float("nan"), 3.0, float("inf"), 5.0]
    assert smoothed(values, 3).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert np.isnan(smoothed([float("nan")], 3)).all()


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look inside."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_raw_and_smoothed_line_of_a_loss(tmp_path, drawn):
    out = tmp_path / "new" / "loss.png"
    iterations = list(range(1, 101))
    losses = np.linspace(2, 1, 100).tolist()
    loss_curve(iterations, losses, out=out, marks={15: "encoder thawed"}, title="run")
    with Image.open(out) as picture:
        assert picture.size == (960, 540)
    (axes,) = drawn[0].axes
    raw, mean, mark = axes.lines
    assert raw.get_ydata().tolist() == losses
    assert raw.get_linewidth() < mean.get_linewidth()
    (name,) = axes.get_legend().get_texts()
    assert name.get_text() == "training loss"
    assert [text.get_text() for text in axes.texts] == ["encoder thawed"]
    assert mark.get_xdata() == [15, 15]
    assert axes.get_ylim()[0] == 0


def test_one_iteration_and_gaps_are_drawn(tmp_path, drawn):
    loss_curve([7], [1.0], out=tmp_path / "one.png")
    loss_curve([1, 2], [1.0, float("nan")], out=tmp_path / "gap.png")
    assert drawn[0].axes[0].lines[1].get_marker() == "."


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


def test_a_value_that_rounding_put_outside_its_interval_is_drawn():
    row = IntervalRow("a", "s", (Measured(80.0, 60.0, 79.9),))
    (axes,) = IntervalPlot((row,), ("mIoU",)).figure().axes
    assert marks(axes)[1] == [(60.0, 80.0)]


def named(points):
    """Return the figure and the texts beside its points."""
    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([p.x for p in points], [p.y for p in points], "o")
    name_points(axes, points)
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


def test_words_in_other_columns_stay_where_they_are():
    wanted = np.array([5.0, 5.0, 5.0])
    left, right = np.array([0.0, 2.0, 0.5]), np.array([1.0, 3.0, 1.5])
    found = spread(wanted, left, right, gap=4)
    assert found[1] == 5
    assert abs(found[2] - found[0]) == pytest.approx(4, abs=0.01)
