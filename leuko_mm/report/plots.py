"""Plots: loss curves, points with intervals, and results below one another."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from leuko_mm.report.html import Measured

# Okabe-Ito: distinct for colour-blind readers.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX"
# Of axes and words on light and on dark ground; no line is drawn in it.
INK, DARK_INK = "#33383f", "#d5d9e0"
# What matplotlib's own rule for all of an SVG ends with.
RULES = b"stroke-linecap: butt}"
# Of a plot in inches, and how many series have their names inside of it.
SIZE, IN_AXES = (8.4, 4.4), 6
# Points of the page between the series of a plot of points.
ASIDE = 5
# Points of the page: size of names, from a point to its name, and how far a name is
# moved before a line leads to it.
FONT, BESIDE, LED = 8, 9.0, 7.0
# A name's height and the width of one of its letters, of the size of the font.
LINE, LETTER = 1.35, 0.62
ROUNDS = 500
# Of a plot of intervals in inches: its width, a result's line, the words at the axes,
# and a line of the legend.
WIDTH, ROW, AROUND, LEGEND_LINE = 8.4, 0.17, 0.9, 0.17
LEGEND_COLUMNS = 2
# Between the results of two names, in lines.
GAP = 0.7


def smoothed(values: Sequence[float], window: int | None = None) -> np.ndarray:
    """Return the centred running mean; at the ends the window gets shorter.

    Args:
        values: one number an iteration; NaN and infinite ones are skipped.
        window: odd length in entries; None: about a twentieth of the values, 1 where
            there are fewer than ten.

    Shape:
        (N,) -> (N,) float64; NaN where a window holds no finite value.
    """
    values = np.asarray(values, dtype=np.float64)
    if window is None:
        window = max(1, len(values) // 40) * 2 + 1 if len(values) >= 10 else 1
    finite = np.isfinite(values)
    half, kernel = window // 2, np.ones(window)
    # "full" cut by half on both sides is centred, whichever array is longer.
    span = slice(half, half + len(values))
    total = np.convolve(np.where(finite, values, 0.0), kernel)[span]
    count = np.convolve(finite.astype(np.float64), kernel)[span]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def loss_curve(
    iterations: Sequence[int],
    losses: Sequence[float],
    *,
    out: str | Path,
    marks: Mapping[int, str] | None = None,
    title: str = "",
) -> None:
    """Draw a training loss over iterations: values thin, their running mean thick.

    Args:
        out: picture to write (.png); its folder is made.
        marks: what happened at an iteration, ``{75: "encoder thawed"}``.

    Raises:
        ValueError: if there is nothing to draw or lengths differ.
    """
    figure = _loss_figure(iterations, losses, marks or {}, (8, 4.5), "0.25")
    (axes,) = figure.axes
    axes.set_title(title, loc="left")
    # Above the axes, where it hides neither curve nor marks.
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def loss_curve_svg(
    iterations: Sequence[int],
    losses: Sequence[float],
    *,
    marks: Mapping[int, str] | None = None,
    size: tuple[float, float] = (8, 3.4),
) -> bytes:
    """Return the curve of :func:`loss_curve` as an SVG file on no ground.

    ``size`` is in inches; text stays 10 points.

    Raises:
        ValueError: if there is nothing to draw or lengths differ.
    """
    figure = _loss_figure(iterations, losses, marks or {}, size, INK)
    _colour_axes(figure.axes[0])
    return _svg(figure)


def _loss_figure(
    iterations: Sequence[int],
    losses: Sequence[float],
    marks: Mapping[int, str],
    size: tuple[float, float],
    ink: str,
) -> Figure:
    if not len(iterations) or len(iterations) != len(losses):
        raise ValueError(
            f"{len(iterations)} iterations and {len(losses)} losses; expected one loss "
            "for each iteration, and at least one"
        )
    figure, colour = _figure(size, dpi=120), LINE_COLOURS[0]
    axes = figure.add_subplot()
    # A run of one iteration has no line: a few points are drawn as points too.
    marker = "-" if len(iterations) >= 10 else ".-"
    axes.plot(iterations, losses, color=colour, linewidth=0.6, alpha=0.35)
    mean, label = smoothed(losses), "training loss"
    axes.plot(iterations, mean, marker, color=colour, linewidth=2, label=label)
    axes.set(xlabel="iteration", ylabel="loss")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0.0 if axes.dataLim.y0 >= 0 else None)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    middle = sum(axes.get_xlim()) / 2
    for order, (iteration, words) in enumerate(sorted(marks.items())):
        axes.axvline(iteration, color=ink, alpha=0.8, linestyle="--", linewidth=1)
        # Words stay inside the axes, and a line lower each, so none overlap.
        right = iteration > middle
        axes.annotate(
            words,
            (iteration, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if right else 4, -4 - 12 * order),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=9,
            color=ink,
        )
    return figure


@dataclass(frozen=True)
class PlotPoint:
    """A point with its name and the ends of its interval in y; None: no interval."""

    x: float
    y: float
    name: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlotSeries:
    """Points of one kind, in the order of x where a line joins them."""

    name: str
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True)
class Plot:
    """Series of points, or lines.

    Args:
        series: at least one, none empty.
        x_label, y_label: words at the axes.
        kind: ``points``, ``joined`` (points with a line) or ``lines`` (a running
            mean over thin values).
    """

    series: tuple[PlotSeries, ...]
    x_label: str
    y_label: str
    kind: str = "points"

    def figure(self) -> Figure:
        """Return the plot as matplotlib draws it."""
        if not self.series or not all(series.points for series in self.series):
            raise ValueError("a plot needs at least one series, and points in each")
        figure = _figure(SIZE)
        axes = figure.add_subplot()
        for order, series in enumerate(self.series):
            if self.kind == "lines":
                _draw_line(axes, series, order)
            else:
                # Series of equal x stand side by side, so that none covers another.
                joined = self.kind == "joined"
                side = 0 if joined else order - (len(self.series) - 1) / 2
                _draw_points(axes, series, order, side, joined=joined)
        axes.set(xlabel=self.x_label, ylabel=self.y_label)
        points = [point for series in self.series for point in series.points]
        if all(float(point.x).is_integer() for point in points):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.08, y=0.08)
        axes.grid(alpha=0.25)
        _colour_axes(axes)
        if len(self.series) > 1:
            many = len(self.series) > IN_AXES
            place = dict(loc="upper left", bbox_to_anchor=(1.01, 1)) if many else {}
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, **place)
        if self.kind != "lines":
            name_points(axes, [point for point in points if point.name])
        return figure


def _draw_points(
    axes: Axes, series: PlotSeries, order: int, side: float, *, joined: bool
) -> None:
    points = series.points
    aside = ScaledTranslation(side * ASIDE / 72, 0, axes.figure.dpi_scale_trans)
    axes.errorbar(
        [p.x for p in points],
        [p.y for p in points],
        yerr=_bars([(p.y, p.low, p.high) for p in points]),
        linestyle="-" if joined else "none",
        linewidth=1.5,
        elinewidth=0.8,
        capsize=2,
        markersize=6,
        label=series.name,
        transform=axes.transData + aside,
        **_style(order),
    )
    # matplotlib scales its axes to nothing that is moved aside.
    ends = [(p.x, end) for p in points for end in (p.low, p.y, p.high)]
    axes.update_datalim([(x, end) for x, end in ends if end is not None])


def _draw_line(axes: Axes, series: PlotSeries, order: int) -> None:
    colour = _style(order)["color"]
    x, y = [p.x for p in series.points], [p.y for p in series.points]
    axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.3)
    dashes = ("-", "--", ":")[order // len(LINE_COLOURS) % 3]
    axes.plot(x, smoothed(y), dashes, color=colour, linewidth=1.8, label=series.name)


def name_points(axes: Axes, points: Sequence[PlotPoint]) -> None:
    """Write every point's name beside it; a thin line leads to one that had to move."""
    if not points:
        return
    figure = axes.figure
    figure.draw_without_rendering()  # the layout is known from here on
    unit = figure.dpi / 72
    at = axes.transData.transform([(p.x, p.y) for p in points]) / unit
    box = axes.get_window_extent()
    turned = at[:, 0] * unit > box.x0 + 0.75 * box.width
    width = np.array([FONT * LETTER * len(p.name) for p in points])
    left = np.where(turned, at[:, 0] - BESIDE - width, at[:, 0] + BESIDE)
    heights = spread(at[:, 1], left, left + width, FONT * LINE)
    for point, moved, turn in zip(points, heights - at[:, 1], turned, strict=True):
        line = dict(arrowstyle="-", color=INK, linewidth=0.4, shrinkA=0, shrinkB=3)
        axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=(-BESIDE if turn else BESIDE, moved),
            textcoords="offset points",
            ha="right" if turn else "left",
            va="center",
            fontsize=FONT,
            color=INK,
            annotation_clip=False,
            arrowprops=line if abs(moved) > LED else None,
        )


def spread(
    wanted: np.ndarray, left: np.ndarray, right: np.ndarray, gap: float
) -> np.ndarray:
    """Return heights near the wanted ones, ``gap`` apart where words would overlap.

    ``left`` and ``right`` are the ends of each word; all are of shape (N,).
    """
    heights = np.array(wanted, dtype=float)
    order = np.argsort(heights, kind="stable")
    pairs = [
        (low, high)
        for rank, low in enumerate(order)
        for high in order[rank + 1 :]
        if left[low] < right[high] and left[high] < right[low]
    ]
    for _ in range(ROUNDS):
        moved = False
        for low, high in pairs:
            lacking = gap - (heights[high] - heights[low])
            if lacking > 1e-3:
                heights[low] -= lacking / 2
                heights[high] += lacking / 2
                moved = True
        if not moved:
            break
    return heights


@dataclass(frozen=True)
class IntervalRow:
    """One result; results of one name stand together, ``series`` is in the legend.

    ``metrics`` are one a panel; a value of None is left out.
    """

    name: str
    series: str
    metrics: tuple[Measured, ...]


@dataclass(frozen=True)
class IntervalPlot:
    """Results below one another, a panel for each metric, with a level or None."""

    rows: tuple[IntervalRow, ...]
    labels: tuple[str, ...]
    levels: tuple[float | None, ...] = ()

    def figure(self) -> Figure:
        """Return the plot as matplotlib draws it."""
        if not self.rows or any(len(r.metrics) != len(self.labels) for r in self.rows):
            raise ValueError(
                "a plot of intervals needs at least one row, and in each row one "
                f"metric for each of its {len(self.labels)} panels"
            )
        heights, names = _row_heights(self.rows)
        series = list(dict.fromkeys(row.series for row in self.rows))
        legend = LEGEND_LINE * -(-len(series) // LEGEND_COLUMNS)
        figure = _figure((WIDTH, AROUND + legend + ROW * (1 - min(heights))))
        panels = figure.subplots(1, len(self.labels), sharey=True, squeeze=False)[0]
        for number, axes in enumerate(panels):
            level = self.levels[number] if self.levels else None
            if level is not None:
                axes.axvline(level, color=INK, linestyle="--", linewidth=0.8)
            for order, words in enumerate(series):
                shown = [
                    (row.metrics[number], height)
                    for row, height in zip(self.rows, heights, strict=True)
                    if row.series == words and row.metrics[number].value is not None
                ]
                axes.errorbar(
                    [m.value for m, _ in shown],
                    [height for _, height in shown],
                    xerr=_bars([(m.value, m.low, m.high) for m, _ in shown]),
                    linestyle="none",
                    elinewidth=1.2,
                    capsize=2,
                    markersize=5,
                    label=words,
                    **_style(order),
                )
            axes.set_xlabel(self.labels[number])
            axes.set_yticks(list(names.values()), list(names))
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(min(heights) - 1, 1)
            axes.grid(axis="x", alpha=0.25)
            _colour_axes(axes)
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=min(len(series), LEGEND_COLUMNS),
            frameon=False,
            fontsize=8,
            labelcolor=INK,
        )
        return figure


def _row_heights(
    rows: Sequence[IntervalRow],
) -> tuple[list[float], dict[str, float]]:
    """Return each row's height, the first at 0 and downwards, and each name's."""
    heights, names, height = [0.0] * len(rows), {}, 0.0
    for name in dict.fromkeys(row.name for row in rows):
        own = [number for number, row in enumerate(rows) if row.name == name]
        for number in own:
            heights[number] = height
            height -= 1
        names[name] = sum(heights[number] for number in own) / len(own)
        height = round(height - GAP, 6)
    return heights, names


def plot_svg(plot: Plot | IntervalPlot) -> bytes:
    """Return a plot as an SVG file on no ground; the same plot gives the same bytes.

    Raises:
        ValueError: if there is nothing to draw, or a row has not one metric a panel.
    """
    return _svg(plot.figure())


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


def _figure(size: tuple[float, float], dpi: int = 100) -> Figure:
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Neither date, version nor random ids: the same data draws the same file.
    about = {"Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": "leuko_mm", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    return buffer.getvalue()


def _style(order: int) -> dict:
    """Return colour and marker of a series by its place among them."""
    turn = order // len(LINE_COLOURS)
    return dict(
        color=LINE_COLOURS[order % len(LINE_COLOURS)],
        marker=MARKERS[turn % len(MARKERS)],
    )


def _bars(
    values: Sequence[tuple[float, float | None, float | None]],
) -> list[list[float]]:
    """Return the lengths of error bars of (value, low, high); 0 for an end of None.

    A value that rounding put outside its interval has no bar on that side.
    """
    return [
        [max(0, value - low) if low is not None else 0 for value, low, _ in values],
        [max(0, high - value) if high is not None else 0 for value, _, high in values],
    ]


def _colour_axes(axes: Axes) -> None:
    """Draw axes and their words in ink, without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, which="both")
    for line in axes.spines.values():
        line.set_color(INK)
    for word in (axes.xaxis.label, axes.yaxis.label):
        word.set_color(INK)
