"""The page about a prediction: plain data in, one HTML file's text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.report.html import image_uri, render
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
    """One cell, as the page knows it.

    Args:
        id: its number in its image, as the overlay shows it.
        class_id: index into the classes.
        confidence: 0-1.
        probabilities: by class id, 0-1.
        box: x0, y0, x1, y1 in pixels of the image, ends excluded.
        area: pixels.
        touches_border: whether the image may have cut it.
        runs: its pixels as COCO's compressed run lengths.
        thumbnail: uint8 RGB; None where the page has too many.

    Shape:
        thumbnail (H, W, 3).
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
        name: its path, as it is shown.
        file_name: its path below the folder of the images, as files name it.
        width, height: pixels.
        overlay: path of its overlay from the page.
        scale: a few words on the scale that was used.
        cells: by id.
        picture: the overlay, uint8 RGB in any size; None where the page has too many.

    Shape:
        picture (H, W, 3).
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
    """All that the page about a prediction says.

    Args:
        name: of what was looked at.
        summary: a sentence on what was found.
        classes: by id, the background first.
        differential: the cells by class.
        fields: in their order.
        failed: (image, reason).
        facts: (name, value) of what the result depends on.
        left_out: sentences on what the page does not show; empty if nothing.
        command: reads the saved corrections back.
        version: of the program.
        closing: the last sentence.
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


def render_predict_report(data: PredictReport) -> str:
    """Return the page about a prediction as the text of one HTML file.

    Args:
        data: see :class:`PredictReport`; every text of it is escaped.
    """
    return render(
        "predict.html",
        {
            "title": f"{data.name}: leukocytes",
            "script": "predict.js",
            "report": data,
            "groups": _by_class(data),
            "pictures": [_field_picture(field) for field in data.fields],
            "content": _content(data),
        },
    )


def _by_class(data: PredictReport) -> list[tuple[int, ClassLabel, int, list[dict]]]:
    """Return class id, class, number of cells and cards; the most doubtful first."""
    cells = [(n, field, c) for n, field in enumerate(data.fields) for c in field.cells]
    groups = []
    for number, label in enumerate(data.classes[1:], 1):
        own = [entry for entry in cells if entry[2].class_id == number]
        shown = [entry for entry in own if entry[2].thumbnail is not None]
        shown.sort(key=lambda entry: (entry[2].confidence, entry[0], entry[2].id))
        cards = [_card(*entry) for entry in shown]
        groups.append((number, label, len(own), cards))
    return [group for group in groups if group[2]]


def _card(number: int, field: FoundField, cell: FoundCell) -> dict:
    picture = fitted(cell.thumbnail, THUMBNAIL_SIDE)
    return dict(
        field=number,
        name=field.name,
        overlay=field.overlay,
        embedded=field.picture is not None,
        cell=cell,
        uri=image_uri(picture, quality=THUMBNAIL_QUALITY),
        width=picture.shape[1],
        height=picture.shape[0],
    )


def _field_picture(field: FoundField) -> Mapping | None:
    if field.picture is None:
        return None
    longer = max(field.picture.shape[:2])
    picture = fitted(field.picture, min(FIELD_SIDE, longer))
    height, width = picture.shape[:2]
    uri = image_uri(picture, quality=FIELD_QUALITY)
    return dict(uri=uri, width=width, height=height)


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image scaled so that its longer side has so many pixels."""
    factor = side / max(image.shape[:2])
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)


def _content(data: PredictReport) -> dict:
    """Return what the page's script needs to show and to save every cell."""
    return {
        "version": data.version,
        "classes": [label.name for label in data.classes],
        "images": [
            {
                "name": field.name,
                "file_name": field.file_name,
                "width": field.width,
                "height": field.height,
                "overlay": field.overlay,
                "cells": [_cell_content(cell) for cell in field.cells],
            }
            for field in data.fields
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
    """Return which cells get a thumbnail where there are too many.

    Every class gets an equal share for its most doubtful cells, and what classes with
    fewer leave over goes to the most doubtful of the others.

    Args:
        confidences: confidence and class of every cell.
        most: thumbnails.

    Example:
        >>> sorted(doubtful_first([(0.9, 1), (0.2, 2), (0.3, 2), (0.4, 2)], 3))
        [0, 1, 2]
    """
    order = sorted(range(len(confidences)), key=lambda i: (confidences[i][0], i))
    classes = {kind for _, kind in confidences}
    share = most // max(1, len(classes))
    first = [
        place
        for kind in classes
        for place in [i for i in order if confidences[i][1] == kind][:share]
    ]
    taken = set(first)
    others = [i for i in order if i not in taken]
    return frozenset([*first, *others[: most - len(first)]])
