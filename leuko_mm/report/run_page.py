"""The page about one run: plain data in, the text of one HTML file out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leuko_mm.report.html import data_uri, picture, render
from leuko_mm.report.overlay import RGB, fitted, label_bytes, overlay

Score = float | None

PANEL_SIDE = 320  # px of the longer side: what a phone and half a dialog can show
QUALITY = 88
# The loss curve: inches by width of the screen, and its line on a dark page.
SIZES = {"wide": (9.6, 3.2), "narrow": (4.4, 3.2)}
DARK_LINE = "#56b4e9"


@dataclass(frozen=True)
class ClassLabel:
    """Name, abbreviation and colour of a class."""

    name: str
    short: str
    colour: RGB


@dataclass(frozen=True)
class Headline:
    """A metric at the top of the page, in percent, with a short explanation."""

    label: str
    value: Score
    note: str


@dataclass(frozen=True)
class ClassRow:
    """Scores of one class in percent; its test cells, and how many are right."""

    label: ClassLabel
    scores: Mapping[str, Score]
    cells: int | None
    right: int | None


@dataclass(frozen=True)
class MeanRow:
    """Means by the keys of ``ClassRow.scores``; others stay empty in the table."""

    title: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class LossHistory:
    """Training loss at some iterations, and events (``marks``) by iteration."""

    iterations: tuple[int, ...]
    losses: tuple[float, ...]
    marks: Mapping[int, str]


@dataclass(frozen=True)
class PixelRow:
    """Pixels of one class in one cell: true, predicted, and both."""

    label: ClassLabel
    true: int
    predicted: int
    correct: int


@dataclass(frozen=True)
class CellCard:
    """One test cell with its pictures.

    Args:
        rank: among all test cells, the worst is 1.
        chosen_as: ``worst`` or ``best``.
        dice: over correct pixels, in percent.
        truth, majority: its class and the one that most of its pixels were given, as an
            index into ``RunReport.classes``; 0 for none.
        image, enhanced: uint8 RGB (H, W, 3); None where there is no picture.
        true_labels, predicted_labels: class ids (H, W); None where there is no picture.
    """

    stem: str
    group: str
    rank: int
    chosen_as: str
    dice: Score
    truth: int
    majority: int
    pixels: tuple[PixelRow, ...] = ()
    image: np.ndarray | None = None
    enhanced: np.ndarray | None = None
    true_labels: np.ndarray | None = None
    predicted_labels: np.ndarray | None = None


@dataclass(frozen=True)
class FactGroup:
    """Facts under one heading: (name, value, details or None)."""

    title: str
    facts: tuple[tuple[str, str | None, str | None], ...]


@dataclass(frozen=True)
class FileLink:
    """A file beside the page, by its relative path, and its content."""

    path: str
    words: str


@dataclass(frozen=True)
class RunReport:
    """Content of the page; classes by id, the background first.

    Args:
        confusion: pixels, rows truth, columns prediction.
        confusion_percent: the same in percent of each row's total.
        loss: None for a run that only tests.
        cells: some of the ``cell_count`` test cells, the worst first.
        facts: settings, data and provenance.
    """

    name: str
    summary: str
    headlines: tuple[Headline, ...]
    classes: tuple[ClassLabel, ...]
    rows: tuple[ClassRow, ...]
    means: tuple[MeanRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    confusion_percent: tuple[tuple[Score, ...], ...]
    loss: LossHistory | None
    cells: tuple[CellCard, ...]
    cell_count: int
    facts: tuple[FactGroup, ...]
    files: tuple[FileLink, ...]
    closing: str


def render_run_report(run: RunReport) -> str:
    """Return the page as the text of one HTML file, every text escaped."""
    legend = {label.name: label.colour for label in run.classes}
    shown = sorted({cell.truth for cell in run.cells})
    return render(
        "run.html",
        {
            "title": f"{run.name}: run report",
            "script": "cells.js",
            "run": run,
            "panels": [cell_panels(cell, legend) for cell in run.cells],
            "shown_classes": [(index, run.classes[index]) for index in shown],
            "curves": _curves(run.loss),
        },
    )


def cell_panels(cell: CellCard, legend: Mapping[str, RGB]) -> list[dict]:
    """Draw a cell as input, enhanced, truth and prediction, all of one size.

    Returns ``caption``, ``uri``, ``width`` and ``height`` of each panel.

    Raises:
        ValueError: if the arrays do not fit.
    """
    if cell.image is None:
        return []
    wide = fitted(cell.image, PANEL_SIDE)
    pictures = {"input": wide}
    if cell.enhanced is not None:
        pictures["enhanced"] = fitted(cell.enhanced, PANEL_SIDE)
    labelled = {"truth": cell.true_labels, "prediction": cell.predicted_labels}
    for caption, labels in labelled.items():
        shown = fitted(label_bytes(labels), PANEL_SIDE)
        pictures[caption] = overlay(wide, shown, alpha=0.25, legend=legend)
    return [
        dict(caption=caption, **picture(image, quality=QUALITY))
        for caption, image in pictures.items()
    ]


def _curves(loss: LossHistory | None) -> dict[str, str] | None:
    """Return the loss curve for each kind of screen; a single point is no curve."""
    if loss is None or len(loss.iterations) < 2:
        return None
    # Pages without a curve need no matplotlib.
    from leuko_mm.report.plots import DARK_INK, INK, LINE_COLOURS, loss_curve_svg

    drawn = {}
    for kind, size in SIZES.items():
        shown = dict(marks=loss.marks, size=size)
        curve = loss_curve_svg(loss.iterations, loss.losses, **shown).decode()
        dark = curve.replace(INK, DARK_INK)
        dark = dark.replace(LINE_COLOURS[0].lower(), DARK_LINE)
        drawn[kind] = data_uri(curve.encode(), "image/svg+xml")
        drawn[f"{kind}_dark"] = data_uri(dark.encode(), "image/svg+xml")
    return drawn
