"""The page about one run: plain data in, one HTML file's text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.report.html import data_uri, image_uri, render
from leuko_mm.report.overlay import CLASS_LEGEND, RGB, label_bytes, overlay
from leuko_mm.report.plots import loss_curve_svg

PANEL_SIDE = 320  # px of the longer side: what a phone and half a dialog can show
QUALITY = 88


class Panel(NamedTuple):
    """One picture: its caption, its ``data:`` URI, and its size in pixels."""

    caption: str
    uri: str
    width: int
    height: int


def cell_panels(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    enhanced: np.ndarray | None = None,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> list[Panel]:
    """Draw a cell as input, enhanced, truth and prediction, all of one size.

    Args:
        image: the cell as taken, uint8 RGB.
        truth: class ids of the mask; 255 is not judged.
        prediction: class ids that the model gave.
        enhanced: the cell as the model saw it; None leaves the panel out.
        legend: name and RGB of each id in order.

    Shape:
        (H, W, 3), (H, W), (H, W), (H, W, 3).

    Raises:
        ValueError: if the arrays do not fit.

    Example:
        >>> cell = np.full((8, 4, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 4), np.uint8)
        >>> [(p.caption, p.width, p.height) for p in cell_panels(cell, labels, labels)]
        [('input', 160, 320), ('truth', 160, 320), ('prediction', 160, 320)]
    """
    wide = _fitted(image)
    pictures = {"input": wide}
    if enhanced is not None:
        pictures["enhanced"] = _fitted(enhanced)
    for caption, labels in (("truth", truth), ("prediction", prediction)):
        pictures[caption] = overlay(
            wide, _fitted(label_bytes(labels)), alpha=0.25, legend=legend
        )
    return [
        Panel(caption, image_uri(picture, quality=QUALITY), *picture.shape[1::-1])
        for caption, picture in pictures.items()
    ]


def _fitted(array: np.ndarray) -> np.ndarray:
    """Scale an image or its labels so that the longer side is ``PANEL_SIDE``."""
    factor = PANEL_SIDE / max(array.shape[:2])
    height, width = (max(round(side * factor), 1) for side in array.shape[:2])
    if array.ndim == 2:
        way = cv2.INTER_NEAREST_EXACT
    else:
        way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(array, (width, height), interpolation=way)


Score = float | None

# The loss curve: inches by screen, colours of its words and its line by scheme.
WIDE, NARROW = (9.6, 3.2), (4.4, 3.2)
LIGHT_INK, DARK_INK = "#33383f", "#d5d9e0"
LIGHT_LINE, DARK_LINE = "#0072B2", "#56B4E9"


@dataclass(frozen=True)
class ClassLabel:
    """A class as tables name it: in full, in a few letters, and in its colour."""

    name: str
    short: str
    colour: RGB


@dataclass(frozen=True)
class Headline:
    """One figure of the first lines, in percent, and what it says in a few words."""

    label: str
    value: Score
    note: str


@dataclass(frozen=True)
class ClassRow:
    """Scores of one class in percent, and its cells counted whole.

    Args:
        label: the class.
        scores: ``precision recall f1 iou ovr_accuracy``; None where undefined.
        cells: test cells of the class; None for the background.
        right: of those, how many were given the class by most of their pixels.
    """

    label: ClassLabel
    scores: Mapping[str, Score]
    cells: int | None
    right: int | None


@dataclass(frozen=True)
class MeanRow:
    """Means of a column each, by the keys of ``ClassRow.scores``; the rest is empty."""

    title: str
    scores: Mapping[str, Score]


@dataclass(frozen=True)
class LossHistory:
    """Training loss at some iterations, and what happened at others."""

    iterations: tuple[int, ...]
    losses: tuple[float, ...]
    marks: Mapping[int, str]


@dataclass(frozen=True)
class PixelRow:
    """Pixels of one class in one cell: true ones, predicted ones, and both at once."""

    label: ClassLabel
    true: int
    predicted: int
    correct: int


@dataclass(frozen=True)
class CellCard:
    """One test cell with its pictures.

    Args:
        stem, group: names of the cell and of the unit it belongs to.
        rank: place among all test cells, the worst first, from 1.
        chosen_as: ``worst`` or ``best``.
        dice: over correct pixels, in percent.
        truth: its class, as an index into ``RunReport.classes``; 0 for none.
        majority: the class that most of its pixels were given; 0 for none.
        pixels: one row a class that occurs in it.
        image, enhanced: uint8 RGB; None where there is no picture.
        true_labels, predicted_labels: class ids; None where there is no picture.

    Shape:
        image, enhanced (H, W, 3); labels (H, W).
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
    """Facts under one heading: (name, value, longer words or None)."""

    title: str
    facts: tuple[tuple[str, str | None, str | None], ...]


@dataclass(frozen=True)
class FileLink:
    """A file beside the page, by its relative path, and what it holds."""

    path: str
    words: str


@dataclass(frozen=True)
class RunReport:
    """All that the page about a run says; the texts in it are shown as they are.

    Args:
        name: of the run.
        summary: one or two sentences: what was trained on what, and how.
        headlines: the first figures.
        classes: of the scores, in the order of their ids, background first.
        rows, means: the table of scores.
        confusion: pixels, rows truth, columns prediction.
        confusion_percent: the same in percent of each row's total.
        loss: None where the run has no training of its own.
        cells: some of the test cells, the worst first.
        cell_count: all test cells.
        facts: what was trained on what.
        files: files beside the page.
        closing: the last sentences: what the figures stand for.
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


def render_run_report(data: RunReport) -> str:
    """Return the page about a run as the text of one HTML file.

    Nothing is computed but the page's layout: every figure is in ``data``, and every
    text of it is escaped.

    Args:
        data: see :class:`RunReport`.
    """
    legend = {label.name: label.colour for label in data.classes}
    shown = sorted({cell.truth for cell in data.cells})
    return render(
        "run.html",
        {
            "title": f"{data.name}: run report",
            "script": "cells.js",
            "run": data,
            "panels": [_panels(cell, legend) for cell in data.cells],
            "shown_classes": [(index, data.classes[index]) for index in shown],
            "curves": _curves(data.loss),
        },
    )


def _panels(cell: CellCard, legend: Mapping[str, RGB]) -> list[Panel]:
    if cell.image is None:
        return []
    return cell_panels(
        cell.image,
        cell.true_labels,
        cell.predicted_labels,
        enhanced=cell.enhanced,
        legend=legend,
    )


def _curves(loss: LossHistory | None) -> dict[str, str] | None:
    """Return the loss curve for each kind of screen."""
    # A single point is no curve.
    if loss is None or len(loss.iterations) < 2:
        return None
    kinds = {
        "wide": (WIDE, LIGHT_INK, LIGHT_LINE),
        "narrow": (NARROW, LIGHT_INK, LIGHT_LINE),
        "wide_dark": (WIDE, DARK_INK, DARK_LINE),
        "narrow_dark": (NARROW, DARK_INK, DARK_LINE),
    }
    drawn = {}
    for kind, (size, ink, line) in kinds.items():
        curve = loss_curve_svg(
            loss.iterations,
            loss.losses,
            marks=loss.marks,
            size=size,
            ink=ink,
            colour=line,
        )
        drawn[kind] = data_uri(curve, "image/svg+xml")
    return drawn
