"""The page about a prediction: plain data in, the text of one HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.report.html import picture, render
from leuko_mm.report.overlay import fitted
from leuko_mm.report.run_page import ClassLabel

THUMBNAIL_SIDE = 96  # px: with hundreds of cells the page stays a few megabytes
FIELD_SIDE = 1024  # px of the longer side
THUMBNAIL_QUALITY, FIELD_QUALITY = 80, 70


@dataclass(frozen=True)
class CountedClass:
    """One class of the differential count; shares in percent."""

    label: ClassLabel
    count: int
    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class FoundCell:
    """One cell.

    Args:
        id: its number in its image, as the overlay shows it.
        probabilities: by class id, 0-1.
        box: x0, y0, x1, y1 in pixels of the image, ends excluded.
        area: pixels.
        runs: its pixels as COCO's compressed run lengths.
        thumbnail: uint8 RGB (H, W, 3); None where the page has too many.
    """

    id: int
    class_id: int
    confidence: float
    probabilities: tuple[float, ...]
    box: tuple[int, int, int, int]
    area: int
    touches_border: bool
    runs: str
    thumbnail: np.ndarray | None = None


@dataclass(frozen=True)
class FoundField:
    """One image and its cells.

    Args:
        name, file_name: its path, printable, and as it is below the images' folder.
        width, height: pixels.
        overlay: path of its overlay from the page.
        picture: the overlay, uint8 RGB in any size; None where the page has too many.
    """

    name: str
    file_name: str
    width: int
    height: int
    overlay: str
    scale: str
    cells: tuple[FoundCell, ...]
    picture: np.ndarray | None = None


@dataclass(frozen=True)
class PredictReport:
    """Content of the page; classes by id, the background first.

    Args:
        failed: (image, reason).
        facts: (name, value) of settings and inputs.
        left_out: sentences on what the page does not show; empty if nothing.
        command: makes a dataset of the saved corrections.
    """

    name: str
    summary: str
    classes: tuple[ClassLabel, ...]
    differential: tuple[CountedClass, ...]
    fields: tuple[FoundField, ...]
    failed: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    command: str
    version: str
    closing: str


def render_predict_report(report: PredictReport) -> str:
    """Return the page as the text of one HTML file, every text escaped."""
    return render(
        "predict.html",
        {
            "title": f"{report.name}: leukocytes",
            "script": "predict.js",
            "report": report,
            "groups": _by_class(report),
            "pictures": [_field_picture(field) for field in report.fields],
            "content": _content(report),
        },
    )


def _by_class(report: PredictReport) -> list[tuple[int, ClassLabel, int, list[dict]]]:
    """Return class id, class, number of cells and cards; the most doubtful first."""
    cells = [(n, f, cell) for n, f in enumerate(report.fields) for cell in f.cells]
    groups = []
    for class_id, label in enumerate(report.classes[1:], 1):
        own = [entry for entry in cells if entry[2].class_id == class_id]
        shown = [entry for entry in own if entry[2].thumbnail is not None]
        shown.sort(key=lambda entry: (entry[2].confidence, entry[0], entry[2].id))
        if own:
            groups.append((class_id, label, len(own), [_card(*e) for e in shown]))
    return groups


def _card(number: int, field: FoundField, cell: FoundCell) -> dict:
    return dict(
        field=number,
        name=field.name,
        overlay=field.overlay,
        embedded=field.picture is not None,
        cell=cell,
        **picture(fitted(cell.thumbnail, THUMBNAIL_SIDE), quality=THUMBNAIL_QUALITY),
    )


def _field_picture(field: FoundField) -> dict | None:
    if field.picture is None:
        return None
    side = min(FIELD_SIDE, max(field.picture.shape[:2]))
    return picture(fitted(field.picture, side), quality=FIELD_QUALITY)


def _content(report: PredictReport) -> dict:
    """Return what the page's script needs to show and to save every cell."""
    return {
        "version": report.version,
        "classes": [label.name for label in report.classes],
        "images": [
            {
                "name": field.name,
                "file_name": field.file_name,
                "width": field.width,
                "height": field.height,
                "overlay": field.overlay,
                "cells": [_cell_content(cell) for cell in field.cells],
            }
            for field in report.fields
        ],
    }


def _cell_content(cell: FoundCell) -> dict:
    return {
        "id": cell.id,
        "class": cell.class_id,
        "confidence": round(cell.confidence, 4),
        "probabilities": [round(share, 4) for share in cell.probabilities],
        "box": list(cell.box),
        "area": cell.area,
        "border": cell.touches_border,
        "runs": cell.runs,
    }


def doubtful_first(
    confidences: Sequence[tuple[float, int]], most: int
) -> frozenset[int]:
    """Return which cells get one of ``most`` thumbnails, the most doubtful first.

    Every class gets an equal share; what classes with fewer cells leave over goes to
    the most doubtful of the others. ``confidences`` are (confidence, class) of each.
    """
    order = sorted(range(len(confidences)), key=lambda i: (confidences[i][0], i))
    classes = {class_id for _, class_id in confidences}
    share = most // max(1, len(classes))
    first = []
    for class_id in classes:
        first += [i for i in order if confidences[i][1] == class_id][:share]
    taken = set(first)
    others = [i for i in order if i not in taken]
    return frozenset([*first, *others[: most - len(first)]])
