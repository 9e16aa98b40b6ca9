"""Plots of a comparison as SVG."""

from __future__ import annotations

import pytest

from leuko_mm.report.comparison_plots import (
    DARK_INK,
    INK,
    Plot,
    PlotPoint,
    PlotSeries,
    on_any_ground,
    plot_svg,
)

POINTS = (PlotPoint(1, 2, "one", 1.5, 2.5), PlotPoint(3, 4, "two"))
KINDS = ("points", "joined", "lines")


def plot(kind="points", names=("a", "b")):
    series = tuple(PlotSeries(name, POINTS) for name in names)
    return Plot(series, "x", "y", kind=kind, levels=((3.0, "target"),))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_plot_is_the_same_bytes_without_a_date(kind):
    drawn = plot_svg(plot(kind))
    assert drawn == plot_svg(plot(kind))
    assert b"dc:date" not in drawn
    assert b"Matplotlib" not in drawn.split(b"<defs>")[0]
    assert drawn != plot_svg(plot(kind, names=("a",)))


def test_words_and_axes_are_of_one_ink_that_can_be_replaced():
    ink, drawn = "#010203", plot_svg(plot())
    assert drawn.count(INK.encode()) == plot_svg(plot(), ink).count(ink.encode()) > 9
    assert INK.encode() not in plot_svg(plot(), ink)


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


@pytest.mark.parametrize("series", [(), (PlotSeries("a", ()),)])
def test_nothing_cannot_be_drawn(series):
    with pytest.raises(ValueError, match="at least one series"):
        plot_svg(Plot(series, "x", "y"))
