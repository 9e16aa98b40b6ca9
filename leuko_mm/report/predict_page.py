"""The page about a prediction: plain data in, the text of one HTML file out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from leuko_mm.classes import OTHER, UNSURE
from leuko_mm.report.html import picture, render
from leuko_mm.report.overlay import fitted
from leuko_mm.report.run_page import ClassLabel

THUMBNAIL_SIDE = 96  # px: with hundreds of cells the page stays a few megabytes
FIELD_SIDE = 1024  # px of the longer side
THUMBNAIL_QUALITY, FIELD_QUALITY = 80, 70


@dataclass(frozen=True)
class CountedClass:
    """One row of the differential count; shares in percent, or in another ``unit``."""

    label: ClassLabel
    count: int
    percent: float
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True)
class LinkedPicture:
    """A picture that the page fetches, and the size at which it is shown in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class FoundCell:
    """One cell.

    Args:
        id: its number in its image, as the overlay shows it.
        probabilities: by class id, 0-1.
        answer: the name as which it counts: its class, ``unsure`` or ``other``.
        box: x0, y0, x1, y1 in pixels of the image, ends excluded.
        area: pixels.
        runs: its pixels as COCO's compressed run lengths.
        other: probability that it is none of the classes, 0-1.
        thumbnail: uint8 RGB (H, W, 3), or a link; None where the page has too many.
    """

    id: int
    class_id: int
    confidence: float
    probabilities: tuple[float, ...]
    box: tuple[int, int, int, int]
    area: int
    touches_border: bool
    runs: str
    answer: str
    other: float = 0.0
    thumbnail: np.ndarray | LinkedPicture | None = None

    @property
    def certainty(self) -> float:
        """How probable the answer is; of an unsure cell, its likeliest class."""
        return self.other if self.answer == OTHER else self.confidence


@dataclass(frozen=True)
class FoundField:
    """One image and its cells.

    Args:
        name, file_name: its path, printable, and as it is below the images' folder.
        width, height: pixels.
        overlay: path of its overlay from the page.
        picture: the overlay, uint8 RGB in any size, or a link; None where the page has
            too many.
    """

    name: str
    file_name: str
    width: int
    height: int
    overlay: str
    scale: str
    cells: tuple[FoundCell, ...]
    picture: np.ndarray | LinkedPicture | None = None


@dataclass(frozen=True)
class PredictReport:
    """Content of the page; classes by id, the background first.

    Args:
        failed: (image, reason).
        differential: of all names as which cells count, the classes first.
        facts: (name, value) of settings and inputs.
        left_out: sentences on what the page does not show; empty if nothing.
        command: makes a dataset of the saved corrections.
        accept: confidence from which a class counts, 0-1.
        more_answers: rows of what the model does not answer and a person may.
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
    accept: float = 0.0
    more_answers: tuple[CountedClass, ...] = ()


def render_predict_report(report: PredictReport) -> str:
    """Return the page as the text of one HTML file, every text escaped."""
    return render("predict.html", _data(report))


def render_session_page(report: PredictReport, session: Mapping) -> str:
    """Return the page as `leuko app` serves it; its pictures are links.

    Args:
        report: of the images that are done.
        session: what ``session.html`` and ``app.js`` show besides.
    """
    data = _data(report)
    data["content"]["app"] = session
    return render("session.html", {**data, "script": "predict.js app.js"})


def render_summary(report: PredictReport, facts: Sequence[tuple[str, str]]) -> str:
    """Return one page of paper about a count, with (name, value) pairs below it."""
    data = dict(title=f"{report.name}: differential count", script="")
    return render("summary.html", {**data, "report": report, "facts": facts})


def render_start_page(sessions: Sequence[Mapping], closing: str) -> str:
    """Return the page that lists the sessions of `leuko app`."""
    data = dict(title="leuko app", script="app.js", content={"app": None})
    return render("start.html", {**data, "sessions": sessions, "closing": closing})


def _data(report: PredictReport) -> dict:
    return {
        "title": f"{report.name}: leukocytes",
        "script": "predict.js",
        "report": report,
        "groups": _by_answer(report),
        "pictures": [_field_picture(field) for field in report.fields],
        "content": _content(report),
    }


def _by_answer(report: PredictReport) -> list[tuple[ClassLabel, int, list[dict]]]:
    """Return label, number of cells and cards; cells without a class come first.

    Within a group the most doubtful come first.
    """
    cells = [(n, f, cell) for n, f in enumerate(report.fields) for cell in f.cells]
    labels = [row.label for row in report.differential]
    groups = []
    for label in sorted(labels, key=lambda known: known.name not in (UNSURE, OTHER)):
        own = [entry for entry in cells if entry[2].answer == label.name]
        shown = [entry for entry in own if entry[2].thumbnail is not None]
        shown.sort(key=lambda entry: (entry[2].certainty, entry[0], entry[2].id))
        if own:
            groups.append((label, len(own), [_card(*e) for e in shown]))
    return groups


def _card(number: int, field: FoundField, cell: FoundCell) -> dict:
    return dict(
        field=number,
        name=field.name,
        overlay=field.overlay,
        embedded=field.picture is not None,
        cell=cell,
        **_shown(cell.thumbnail, THUMBNAIL_SIDE, THUMBNAIL_QUALITY),
    )


def _field_picture(field: FoundField) -> dict | None:
    if field.picture is None:
        return None
    return _shown(field.picture, FIELD_SIDE, FIELD_QUALITY, enlarged=False)


def _shown(
    image: np.ndarray | LinkedPicture, side: int, quality: int, *, enlarged: bool = True
) -> dict:
    if isinstance(image, LinkedPicture):
        return asdict(image)
    if not enlarged:
        side = min(side, max(image.shape[:2]))
    return picture(fitted(image, side), quality=quality)


def _content(report: PredictReport) -> dict:
    """Return what the page's script needs to show and to save every cell."""
    return {
        "version": report.version,
        "classes": [label.name for label in report.classes],
        "answers": [row.label.name for row in report.differential],
        "images": [
            {
                "name": field.name,
                "file_name": field.file_name,
                "width": field.width,
                "height": field.height,
                "cells": [_cell_content(cell) for cell in field.cells],
            }
            for field in report.fields
        ],
    }


def _cell_content(cell: FoundCell) -> dict:
    return {
        "id": cell.id,
        "class": cell.class_id,
        "answer": cell.answer,
        "other": round(cell.other, 4),
        "confidence": round(cell.confidence, 4),
        "probabilities": [round(share, 4) for share in cell.probabilities],
        "box": list(cell.box),
        "area": cell.area,
        "border": cell.touches_border,
        "runs": cell.runs,
    }


def doubtful_first(
    confidences: Sequence[tuple[float, str]], most: int
) -> frozenset[int]:
    """Return which cells get one of ``most`` thumbnails, the most doubtful first.

    Every answer gets an equal share; what answers with fewer cells leave over goes to
    the most doubtful of the others. ``confidences`` are (confidence, answer) of each.
    """
    order = sorted(range(len(confidences)), key=lambda i: (confidences[i][0], i))
    answers = {answer for _, answer in confidences}
    share = most // max(1, len(answers))
    first = []
    for answer in answers:
        first += [i for i in order if confidences[i][1] == answer][:share]
    taken = set(first)
    others = [i for i in order if i not in taken]
    return frozenset([*first, *others[: most - len(first)]])
