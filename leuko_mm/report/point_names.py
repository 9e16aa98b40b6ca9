"""Names beside the points of a plot, none written over another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes

FONT = 8  # points of the page
# A name's height and the width of one of its letters, of the size of the font.
LINE, LETTER = 1.35, 0.62
# From the point to its name, and from where on a line leads to it, points of the page.
BESIDE, LED = 9.0, 7.0
ROUNDS = 500


class NamedPoint(Protocol):
    """A point of a plot with its name."""

    x: float
    y: float
    name: str


def spread(
    wanted: np.ndarray, left: np.ndarray, right: np.ndarray, gap: float
) -> np.ndarray:
    """Return heights near the wanted ones, ``gap`` apart where words would overlap.

    Args:
        wanted: heights.
        left, right: where each word begins and ends.
        gap: least distance of two words that share a column.

    Shape:
        (N,) each -> (N,).

    Example:
        >>> at, ends = np.zeros(2), np.ones(2)
        >>> spread(np.array([5.0, 6.0]), at, ends, gap=3.0).round(1).tolist()
        [4.0, 7.0]
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


def name_points(axes: Axes, points: Sequence[NamedPoint], ink: str) -> None:
    """Write every point's name beside it; a thin line leads to one that had to move.

    Args:
        axes: drawn and scaled; names of points far to the right stand left of them.
        points: in data coordinates.
        ink: colour of the names.
    """
    if not points:
        return
    figure = axes.figure
    figure.draw_without_rendering()  # the layout is known from here on
    unit = figure.dpi / 72
    at = axes.transData.transform([(p.x, p.y) for p in points]) / unit
    box = axes.get_window_extent()
    turned = at[:, 0] * unit > box.x0 + 0.75 * box.width
    width = np.array([FONT * LETTER * len(p.name) for p in points])
    begin = np.where(turned, at[:, 0] - BESIDE - width, at[:, 0] + BESIDE)
    heights = spread(at[:, 1], begin, begin + width, FONT * LINE)
    for place, point, left, height in zip(at, points, turned, heights, strict=True):
        moved = height - place[1]
        line = dict(arrowstyle="-", color=ink, linewidth=0.4, shrinkA=0, shrinkB=3)
        axes.annotate(
            point.name,
            (point.x, point.y),
            xytext=(-BESIDE if left else BESIDE, moved),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=FONT,
            color=ink,
            annotation_clip=False,
            arrowprops=line if abs(moved) > LED else None,
        )
