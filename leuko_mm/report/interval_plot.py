"""Plots of figures with their intervals, a line of the page for each result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from leuko_mm.report.comparison_plots import INK, colour_axes, series_style
from leuko_mm.report.measured import Measured

# Inches: of the page's width, of a result's line, of the axes' words and legend.
WIDTH, LINE, AROUND, LEGEND_LINE = 8.4, 0.17, 0.9, 0.17
# Between the results of two names, in lines.
GAP = 0.7
LEGEND_COLUMNS = 2


@dataclass(frozen=True)
class IntervalRow:
    """One result.

    Args:
        name: at the left; results of one name stand together under it.
        series: what its colour means, in the legend.
        figures: one a panel; a value of None is left out.
    """

    name: str
    series: str
    figures: tuple[Measured, ...]


@dataclass(frozen=True)
class IntervalPlot:
    """Results below one another, a panel for each of their figures.

    Args:
        rows: from the top; names come in the order of their first rows.
        labels: words at the panels' axes.
        levels: of each panel a level to compare with, or None.
    """

    rows: tuple[IntervalRow, ...]
    labels: tuple[str, ...]
    levels: tuple[float | None, ...] = ()

    def figure(self, ink: str = INK) -> Figure:
        """Return the plot as matplotlib draws it.

        Args:
            ink: colour of axes and words, ``#rrggbb``.

        Raises:
            ValueError: if there is no row, or a row has not one figure a panel.
        """
        if not self.rows or any(len(r.figures) != len(self.labels) for r in self.rows):
            raise ValueError(
                "a plot of intervals needs at least one row, and in each row one "
                f"figure for each of its {len(self.labels)} panels"
            )
        heights, names = _places(self.rows)
        series = list(dict.fromkeys(row.series for row in self.rows))
        legend = LEGEND_LINE * -(-len(series) // LEGEND_COLUMNS)
        size = WIDTH, AROUND + legend + LINE * (1 - min(heights))
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(self.labels), sharey=True, squeeze=False)[0]
        for number, axes in enumerate(panels):
            level = self.levels[number] if self.levels else None
            if level is not None:
                axes.axvline(level, color=ink, linestyle="--", linewidth=0.8)
            for order, words in enumerate(series):
                _draw(axes, self.rows, heights, number, order, words)
            axes.set_xlabel(self.labels[number])
            axes.set_yticks(list(names.values()), list(names))
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(min(heights) - 1, 1)
            axes.grid(axis="x", alpha=0.25)
            colour_axes(axes, ink)
        handles, words = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            words,
            loc="outside upper center",
            ncols=min(len(series), LEGEND_COLUMNS),
            frameon=False,
            fontsize=8,
            labelcolor=ink,
        )
        return figure


def _places(rows: Sequence[IntervalRow]) -> tuple[list[float], dict[str, float]]:
    """Return each row's height, the first at 0 and downwards, and each name's.

    Example:
        >>> rows = [IntervalRow(name, "", ()) for name in "aba"]
        >>> _places(rows)
        ([0.0, -2.7, -1.0], {'a': -0.5, 'b': -2.7})
    """
    heights, names, height = [0.0] * len(rows), {}, 0.0
    for name in dict.fromkeys(row.name for row in rows):
        own = [number for number, row in enumerate(rows) if row.name == name]
        for number in own:
            heights[number] = height
            height -= 1
        names[name] = sum(heights[number] for number in own) / len(own)
        height = round(height - GAP, 6)
    return heights, names


def _draw(
    axes: Axes,
    rows: Sequence[IntervalRow],
    heights: Sequence[float],
    panel: int,
    order: int,
    words: str,
) -> None:
    """Draw the results of one series into a panel."""
    shown = [
        (row.figures[panel], height)
        for row, height in zip(rows, heights, strict=True)
        if row.series == words and row.figures[panel].value is not None
    ]
    spans = [
        [m.value - m.low if m.low is not None else 0 for m, _ in shown],
        [m.high - m.value if m.high is not None else 0 for m, _ in shown],
    ]
    axes.errorbar(
        [m.value for m, _ in shown],
        [height for _, height in shown],
        xerr=spans,
        linestyle="none",
        elinewidth=1.2,
        capsize=2,
        markersize=5,
        label=words,
        **series_style(order),
    )
