"""Measure how often the bootstrap's intervals cover the truth, on simulated slides.

    python tools/paper/interval_coverage.py

Draws slides of five classes as a random intercept each, cells on them, and what a
network makes of each cell; takes the metrics of 4000 slides a class for the truth;
and prints how many intervals of a few slides cover it, how wide they are, and how
wide a normal interval would be of who knew the true spread. These are the numbers
in docs/statistics.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.evaluation.statistics import (
    metric_values,
    percentile_ends,
    resample_weights,
)
from leuko_mm.report.html import number, table

METRICS = ("mIoU", "pixel_accuracy", "iou.lymphocyte", "right_class")
# As on the slides of BCISC.
CELLS_OF_SLIDES = (5, 6, 5, 6, 5, 4, 6, 5, 6, 5)
# Log odds of the right class on the average slide, by class.
ODDS = np.array([np.nan, 3.0, 1.8, 1.5, 2.2, 2.5])
PIXELS = 128 * 128
TRUTH_SLIDES = 4000
# Widths are given as multiples of that of the 95 % of a normal distribution.
SPREADS = 2 * 1.96


@dataclass(frozen=True)
class Coverage:
    """What became of the intervals of one metric.

    Attributes:
        covered: share of intervals that hold the truth.
        width: their mean width.
        ideal: the width of a normal interval with the spread of the metric itself.
    """

    covered: float
    width: float
    ideal: float


def slide_of_cells(slides: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the slide and the class of every cell, for as many slides a class.

    Shape:
        (N,) and (N,) ids.
    """
    classes = np.repeat(np.arange(1, len(CLASS_NAMES)), slides)
    sizes = np.tile(np.resize(CELLS_OF_SLIDES, slides), len(CLASS_NAMES) - 1)
    slide = np.repeat(np.arange(len(classes)), sizes)
    return slide, classes[slide]


def simulated_cells(
    slide: np.ndarray, classes: np.ndarray, *, between: float, seed: int
) -> np.ndarray:
    """Return the confusions of cells whose slides differ.

    Args:
        slide: of each cell, from 0.
        classes: the true class of each.
        between: standard deviation of the log odds of the right class over slides.
        seed: of the draws.

    Shape:
        (N,), (N,) -> (N, C, C) float64.
    """
    random = np.random.default_rng(seed)
    count, row = len(slide), np.arange(len(slide))
    # Of the slide: how hard its cells are, how large, how tightly outlined.
    hard, large, tight, halo = random.standard_normal((4, slide.max() + 1))[:, slide]
    right = random.random(count) < 1 / (1 + np.exp(-ODDS[classes] - between * hard))
    taken = np.where(right, classes, _another(classes, random))
    beside = _another(taken, random)
    size = random.uniform(1200, 3500, count) * np.exp(0.15 * large)
    drawn = np.clip(0.95 + 0.03 * tight + 0.02 * random.standard_normal(count), 0.5, 1)
    patchy = random.random(count) < 0.2
    astray = np.where(patchy, random.uniform(0.1, 0.5, count), 0.02)
    false_alarm = size * np.abs(0.02 + 0.02 * halo)
    counts = np.zeros((count, len(CLASS_NAMES), len(CLASS_NAMES)))
    counts[row, classes, taken] += size * drawn * (1 - astray)
    counts[row, classes, beside] += size * drawn * astray
    counts[row, classes, 0] += size * (1 - drawn)
    counts[row, 0, taken] += false_alarm
    counts[row, 0, 0] += PIXELS - size - false_alarm
    return counts


def coverage(
    slides: int,
    *,
    between: float,
    simulations: int = 500,
    resamples: int = 2000,
    level: float = 0.95,
    within: bool = True,
) -> dict[str, Coverage]:
    """Return how often the intervals of each metric cover the truth.

    The weights depend on slides and classes alone, so that one set of them gives
    for every simulation what ``bootstrap_interval`` gives.

    Args:
        slides: of each class.
        between: how much slides differ, see :func:`simulated_cells`.
        simulations: how many.
        resamples: of each interval.
        level: of the intervals.
        within: False draws slides alone, and no cells within them.
    """
    many = slide_of_cells(TRUTH_SLIDES)
    everything = simulated_cells(*many, between=between, seed=simulations)
    slide, classes = slide_of_cells(slides)
    weights = resample_weights(slide, classes, resamples=resamples, within=within)
    ends = {name: [] for name in METRICS}
    for seed in range(simulations):
        cells = simulated_cells(slide, classes, between=between, seed=seed)
        for name, found in ends.items():
            value = metric_values(cells, np.ones((1, len(cells))), name)[0]
            values = metric_values(cells, weights, name)
            found.append((value, *percentile_ends(values, level)))
    truth = {
        name: metric_values(everything, np.ones((1, len(everything))), name)[0]
        for name in METRICS
    }
    return {
        name: _covered(truth[name], np.array(found)) for name, found in ends.items()
    }


def _covered(truth: float, found: np.ndarray) -> Coverage:
    values, low, high = found.T
    return Coverage(
        covered=float(((low <= truth) & (truth <= high)).mean()),
        width=float((high - low).mean()),
        ideal=float(SPREADS * values.std()),
    )


def _another(classes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    leukocytes = len(CLASS_NAMES) - 1
    return (classes - 1 + random.integers(1, leukocytes, len(classes))) % leukocytes + 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slides", type=int, nargs="+", default=[10, 2])
    parser.add_argument("--between", type=float, nargs="+", default=[0.5, 1.5])
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument(
        "--slides-alone", action="store_true", help="draw no cells within slides"
    )
    asked = parser.parse_args()
    rows = []
    for slides in asked.slides:
        for between in asked.between:
            found = coverage(
                slides,
                between=between,
                simulations=asked.simulations,
                resamples=asked.resamples,
                within=not asked.slides_alone,
            )
            for name, one in found.items():
                shown = (100 * one.covered, one.width, one.ideal)
                shown = [number(value) for value in shown]
                rows.append([name, f"5 x {slides}", f"{between:g}", *shown])
    header = ["metric", "slides", "between slides", "covered, %", "width", "ideal"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
