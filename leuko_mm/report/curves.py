"""Curves over the iterations of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe-Ito: distinct for colour-blind readers.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Return the centred running mean; at the ends the window gets shorter.

    Args:
        values: one number an iteration; NaN and infinite ones are skipped.
        window: odd length in entries; 1 changes nothing.

    Shape:
        (N,) -> (N,) float64; NaN where a window holds no finite value.

    Raises:
        ValueError: if the window is even or below 1.

    Example:
        >>> smoothed([0.0, 3.0, 6.0, 3.0], 3).tolist()
        [1.5, 3.0, 4.0, 4.5]
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"the window is {window}; expected an odd number from 1 up")
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    half, kernel = window // 2, np.ones(window)
    # "full" cut by half on both sides is centred, whichever array is longer.
    span = slice(half, half + len(values))
    total = np.convolve(np.where(finite, values, 0.0), kernel)[span]
    count = np.convolve(finite.astype(np.float64), kernel)[span]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def loss_curve(
    iterations: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    *,
    out: str | Path,
    marks: Mapping[int, str] | None = None,
    title: str = "",
    log: bool = False,
) -> None:
    """Draw losses over iterations: raw values thin, their running mean thick.

    Args:
        iterations: N iteration numbers in ascending order.
        losses: name and N values of each curve.
        out: picture to write (.png); its folder is made.
        marks: what happened at an iteration, ``{75: "encoder thawed"}``.
        title: a line above the curves.
        log: logarithmic loss axis.

    Raises:
        ValueError: if there is nothing to draw or lengths differ.
    """
    figure = _figure(iterations, losses, (8, 4.5), log=log)
    (axes,) = figure.axes
    axes.set_title(title, loc="left")
    _mark(axes, marks or {}, "0.25")
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def loss_curve_svg(
    iterations: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    *,
    marks: Mapping[int, str] | None = None,
    size: tuple[float, float] = (8, 3.4),
    ink: str = "#33383f",
    colours: Sequence[str] = LINE_COLOURS,
) -> bytes:
    """Return the curves of :func:`loss_curve` as an SVG file on no ground.

    Args:
        iterations: N iteration numbers in ascending order.
        losses: name and N values of each curve.
        marks: what happened at an iteration, ``{75: "encoder thawed"}``.
        size: width and height in inches; text stays 10 points.
        ink: colour of axes and words, ``#rrggbb``.
        colours: of the curves in their order, taken up again after the last.

    Raises:
        ValueError: if there is nothing to draw or lengths differ.
    """
    figure = _figure(iterations, losses, size, colours=colours)
    (axes,) = figure.axes
    _mark(axes, marks or {}, ink)
    axes.tick_params(colors=ink)
    legend = axes.get_legend()
    # The page's heading names a curve that is alone.
    legend.set_visible(len(losses) > 1)
    words = (axes.xaxis.label, axes.yaxis.label, *legend.get_texts())
    for word in words:
        word.set_color(ink)
    for line in axes.spines.values():
        line.set_color(ink)
    buffer = io.BytesIO()
    # Neither date nor random ids: the same run draws the same file.
    with rc_context({"svg.hashsalt": "leuko_mm", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _figure(
    iterations: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    size: tuple[float, float],
    *,
    log: bool = False,
    colours: Sequence[str] = LINE_COLOURS,
) -> Figure:
    lengths = {name: len(values) for name, values in losses.items()}
    if not lengths or set(lengths.values()) != {len(iterations)} or not len(iterations):
        raise ValueError(
            f"{len(iterations)} iterations and curves of lengths {lengths}; expected "
            "at least one curve, and one value for each of the iterations"
        )
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    window = max(1, len(iterations) // 40) * 2 + 1 if len(iterations) >= 10 else 1
    # A run of one iteration has no line: a few points are drawn as points too.
    marker = "-" if len(iterations) >= 10 else ".-"
    for order, (name, values) in enumerate(losses.items()):
        colour = colours[order % len(colours)]
        axes.plot(iterations, values, color=colour, linewidth=0.6, alpha=0.35)
        mean = smoothed(values, window)
        axes.plot(iterations, mean, marker, color=colour, linewidth=2, label=name)
    axes.set(xlabel="iteration", ylabel="loss", yscale="log" if log else "linear")
    axes.margins(x=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not log:
        axes.set_ylim(bottom=0.0 if axes.dataLim.y0 >= 0 else None)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the axes, where it hides neither curves nor marks.
    axes.legend(
        frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(losses)
    )
    return figure


def _mark(axes: Axes, marks: Mapping[int, str], ink: str) -> None:
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
