"""Plots of a comparison as SVG: points with intervals, and lines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from leuko_mm.report.curves import LINE_COLOURS, smoothed
from leuko_mm.report.point_names import name_points

# Of axes and words on light and on dark ground; no line is drawn in it.
INK, DARK_INK = "#33383f", "#d5d9e0"
# What matplotlib's own rule for all of an SVG ends with.
RULES = b"stroke-linecap: butt}"
SIZE = (8.4, 4.4)  # inches
MARKERS = "osD^vPX"
# In a figure of more series than this, their names stand below it.
IN_AXES = 6
# Points of the page between the series of a figure of points.
ASIDE = 5


@dataclass(frozen=True)
class PlotPoint:
    """A point with its name and the ends of its interval.

    Args:
        x, y: where.
        name: written beside it; empty for none.
        low, high: ends of y's interval; None for none.
    """

    x: float
    y: float
    name: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlotSeries:
    """Points of one kind.

    Args:
        name: in the legend.
        points: in the order of x where a line joins them.
    """

    name: str
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True)
class Plot:
    """What is drawn.

    Args:
        series: at least one, none empty.
        x_label, y_label: words at the axes.
        kind: ``points``, ``joined`` (points with a line) or ``lines`` (a running
            mean over thin values).
        levels: (height, words) of level lines.
    """

    series: tuple[PlotSeries, ...]
    x_label: str
    y_label: str
    kind: str = "points"
    levels: tuple[tuple[float, str], ...] = ()

    def figure(self, ink: str = INK) -> Figure:
        """Return the plot as matplotlib draws it.

        Args:
            ink: colour of axes and words, ``#rrggbb``.

        Raises:
            ValueError: if there is nothing to draw.
        """
        if not self.series or not all(series.points for series in self.series):
            raise ValueError("a plot needs at least one series, and points in each")
        figure = Figure(figsize=SIZE, dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for order, series in enumerate(self.series):
            if self.kind == "lines":
                _draw_line(axes, series, order)
            else:
                side = (
                    order - (len(self.series) - 1) / 2 if self.kind == "points" else 0
                )
                _draw_points(axes, series, order, side, joined=self.kind == "joined")
        for height, words in self.levels:
            axes.axhline(height, color=ink, linestyle="--", linewidth=0.8)
            axes.annotate(
                words,
                (0.01, height),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                color=ink,
                fontsize=8,
            )
        _finish(axes, self, ink)
        if self.kind != "lines":
            name_points(axes, [p for s in self.series for p in s.points if p.name], ink)
        return figure


class Drawable(Protocol):
    """What can be drawn as a figure of matplotlib."""

    def figure(self, ink: str = INK) -> Figure:
        """Return the figure, its axes and words in one colour."""


def plot_svg(plot: Drawable, ink: str = INK) -> bytes:
    """Return a plot as an SVG file on no ground; the same plot gives the same bytes.

    Args:
        plot: a :class:`Plot`, or another that draws itself.
        ink: colour of axes and words, ``#rrggbb``.

    Raises:
        ValueError: if there is nothing to draw.
    """
    figure = plot.figure(ink)
    buffer = io.BytesIO()
    # Neither date, version nor random ids: the same data draws the same file.
    about = {"Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": "leuko_mm", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    return buffer.getvalue()


def on_any_ground(drawn: bytes) -> bytes:
    """Return an SVG of ``plot_svg`` that turns light where its page is dark.

    Viewers that know no dark pages show it as it was.
    """
    dark = "".join(
        f'[style*="{kind}: {INK}"]{{{kind}: {DARK_INK} !important}}'
        for kind in ("fill", "stroke")
    )
    rule = f"@media (prefers-color-scheme: dark){{{dark}}}"
    return drawn.replace(RULES, RULES + rule.encode(), 1)


def series_style(order: int) -> dict:
    """Return colour and marker of a series by its place among them."""
    turn = order // len(LINE_COLOURS)
    return dict(
        color=LINE_COLOURS[order % len(LINE_COLOURS)],
        marker=MARKERS[turn % len(MARKERS)],
    )


def _draw_points(
    axes: Axes, series: PlotSeries, order: int, side: float, *, joined: bool
) -> None:
    """Draw points; ``side`` moves them aside, so that equal x do not cover another."""
    points, style = series.points, series_style(order)
    spans = [
        [p.y - p.low if p.low is not None else 0 for p in points],
        [p.high - p.y if p.high is not None else 0 for p in points],
    ]
    aside = ScaledTranslation(side * ASIDE / 72, 0, axes.figure.dpi_scale_trans)
    axes.errorbar(
        [p.x for p in points],
        [p.y for p in points],
        yerr=spans,
        linestyle="-" if joined else "none",
        linewidth=1.5,
        elinewidth=0.8,
        capsize=2,
        markersize=6,
        label=series.name,
        transform=axes.transData + aside,
        **style,
    )
    # matplotlib scales its axes to nothing that is moved aside.
    ends = [(p.x, end) for p in points for end in (p.low, p.y, p.high)]
    axes.update_datalim([(x, end) for x, end in ends if end is not None])


def _draw_line(axes: Axes, series: PlotSeries, order: int) -> None:
    colour = series_style(order)["color"]
    x, y = [p.x for p in series.points], [p.y for p in series.points]
    window = max(1, len(x) // 40) * 2 + 1 if len(x) >= 10 else 1
    axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.3)
    dashes = ("-", "--", ":")[order // len(LINE_COLOURS) % 3]
    mean = smoothed(y, window)
    axes.plot(x, mean, dashes, color=colour, linewidth=1.8, label=series.name)


def _finish(axes: Axes, plot: Plot, ink: str) -> None:
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    if _whole([p.x for series in plot.series for p in series.points]):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08, y=0.08)
    axes.grid(alpha=0.25)
    colour_axes(axes, ink)
    if len(plot.series) > 1:
        many = len(plot.series) > IN_AXES
        place = dict(loc="upper left", bbox_to_anchor=(1.01, 1)) if many else {}
        axes.legend(frameon=False, fontsize=8, labelcolor=ink, **place)


def colour_axes(axes: Axes, ink: str) -> None:
    """Draw axes and their words in one colour, without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=ink, which="both")
    for line in axes.spines.values():
        line.set_color(ink)
    for word in (axes.xaxis.label, axes.yaxis.label):
        word.set_color(ink)


def _whole(values: Sequence[float]) -> bool:
    return all(float(value).is_integer() for value in values)
