"""Contact sheets of a dataset or a training's batches: one page, one PNG a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.report.contact_sheet import contact_sheet
from leuko_mm.report.html import image_uri, render
from leuko_mm.report.run_report import ClassLabel

QUALITY = 90
SMALL_TILE = 160  # px of a cell on its sheet


@dataclass(frozen=True)
class Figure:
    """One thing shown: a cell, a mosaic, or an image of a batch.

    Args:
        title: its name.
        notes: where it comes from, in a few words a line.
        classes: those that its labels hold, but for the background.
        pictures: uint8 RGB, one or two of the same thing.

    Shape:
        pictures (H, W, 3) each.
    """

    title: str
    notes: tuple[str, ...]
    classes: tuple[ClassLabel, ...]
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Sheet:
    """Figures of one kind.

    Args:
        name: of the PNG, without its suffix, and of the section.
        title: the section's heading.
        lead: what is seen, in a sentence or two.
        small: many little figures, rather than a few in their own size.
        figures: at least one.
    """

    name: str
    title: str
    lead: str
    small: bool
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class BrowsePage:
    """All that the page says.

    Args:
        name: of what is shown.
        summary: a sentence on what it is.
        classes: each with how many of the cells are of it; None for the background.
        facts: (name, value) of what the figures depend on.
        sheets: in the order of the page.
    """

    name: str
    summary: str
    classes: tuple[tuple[ClassLabel, int | None], ...]
    facts: tuple[tuple[str, str], ...]
    sheets: tuple[Sheet, ...]


def render_browse_page(data: BrowsePage) -> str:
    """Return the page as the text of one HTML file.

    Its pictures are JPEG; those of the PNG sheets are exact.
    """
    return render(
        "browse.html",
        {
            "title": f"{data.name}: contact sheets",
            "script": "",
            "page": data,
            "pictures": [_pictures(sheet.figures) for sheet in data.sheets],
        },
    )


def _pictures(figures: Sequence[Figure]) -> list[list[dict]]:
    return [
        [
            dict(
                uri=image_uri(picture, quality=QUALITY),
                width=picture.shape[1],
                height=picture.shape[0],
            )
            for picture in figure.pictures
        ]
        for figure in figures
    ]


def draw_sheet(sheet: Sheet) -> np.ndarray:
    """Return the sheet as one RGB picture.

    What is not small keeps its pixels: tiles are as large as the largest picture.
    """
    pictures = [p for figure in sheet.figures for p in figure.pictures]
    captions = [
        figure.title if number == 0 else "labels"
        for figure in sheet.figures
        for number in range(len(figure.pictures))
    ]
    if sheet.small:
        return contact_sheet(pictures, captions, columns=8, tile=SMALL_TILE)
    side = max(max(picture.shape[:2]) for picture in pictures)
    return contact_sheet(pictures, captions, columns=4, tile=side)
