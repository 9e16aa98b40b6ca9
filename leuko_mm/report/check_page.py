"""The page about a dataset's check: plain data in, one HTML file's text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.report.html import image_uri, render
from leuko_mm.report.overlay import RGB, overlay
from leuko_mm.report.run_page import ClassLabel

THUMBNAIL_SIDE = 200  # px of the longer side: sharp at 100 on a phone
QUALITY = 82
# What a severity is called on the page: in words as well as in colour.
SIGNS = {"error": "✗ error", "warning": "! warning", "note": "· note"}


@dataclass(frozen=True)
class Specimen:
    """A picture that shows a finding.

    Args:
        stem: its name.
        image: uint8 RGB.
        labels: class ids, outlined on the image; None shows it bare.

    Shape:
        image (H, W, 3); labels (H, W).
    """

    stem: str
    image: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class ShownFinding:
    """One finding: what it is about, what is wrong, and pictures of it."""

    file: str
    words: str
    pictures: tuple[Specimen, ...] = ()


@dataclass(frozen=True)
class FindingSection:
    """All findings of one kind.

    Args:
        severity: ``error``, ``warning`` or ``note``.
        title, cure: what they have in common.
        shown: the first ones.
        further: the others, as (file, words).
    """

    severity: str
    title: str
    cure: str
    shown: tuple[ShownFinding, ...]
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CountRow:
    """Cells of each class in one part of one split, in the order of the classes."""

    split: str
    part: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ColourCell:
    """A region's mean colour in one group, in words of CIELAB; see the page's key."""

    rgb: RGB
    lab: str
    spread: str
    distance: str
    far: bool


@dataclass(frozen=True)
class StainRow:
    """Colours of one group; None where no cell has the region."""

    group: str
    cells: int
    background: ColourCell | None
    cell: ColourCell | None


@dataclass(frozen=True)
class CheckReport:
    """All that the page about a check says.

    Args:
        name: of the dataset.
        summary: what was looked at, in a sentence.
        tally: findings by severity.
        classes: of the cells, without the background.
        labels: every class by its id, for the outlines.
        sections: the gravest first.
        counts: cells by split, part and class.
        stains: colours by group.
        closing: the last sentence: how to run it again.
    """

    name: str
    summary: str
    tally: Mapping[str, int]
    classes: tuple[ClassLabel, ...]
    labels: tuple[ClassLabel, ...]
    sections: tuple[FindingSection, ...]
    counts: tuple[CountRow, ...]
    stains: tuple[StainRow, ...]
    closing: str


def render_check_report(data: CheckReport) -> str:
    """Return the page about a check as the text of one HTML file.

    Args:
        data: see :class:`CheckReport`; every text of it is escaped.
    """
    legend = {label.name: label.colour for label in data.labels}
    return render(
        "check.html",
        {
            "title": f"{data.name}: dataset check",
            "script": "",
            "check": data,
            "signs": SIGNS,
            "thumbnails": [
                [[_thumbnail(p, legend) for p in found.pictures] for found in s.shown]
                for s in data.sections
            ],
        },
    )


def _thumbnail(specimen: Specimen, legend: Mapping[str, RGB]) -> dict:
    """Return caption, address and size of a small picture, its mask outlined."""
    image = _fitted(specimen.image, cv2.INTER_AREA)
    if specimen.labels is not None:
        labels = _fitted(specimen.labels, cv2.INTER_NEAREST_EXACT)
        image = overlay(image, labels, alpha=0.12, outline=1, legend=legend)
    return dict(
        stem=specimen.stem,
        uri=image_uri(image, quality=QUALITY),
        width=image.shape[1],
        height=image.shape[0],
    )


def _fitted(array: np.ndarray, shrinking: int) -> np.ndarray:
    factor = THUMBNAIL_SIDE / max(array.shape[:2])
    height, width = (max(1, round(side * factor)) for side in array.shape[:2])
    way = cv2.INTER_CUBIC if factor > 1 and array.ndim == 3 else shrinking
    return cv2.resize(array, (width, height), interpolation=way)


def colour_cell(
    lab: Sequence[float], rgb: RGB, *, spread: float, distance: float, far: bool
) -> ColourCell:
    """Return a colour with its figures as the table shows them.

    Example:
        >>> made = colour_cell(
        ...     (81.2, 3.4, 5.0), (1, 2, 3), spread=2, distance=9, far=True
        ... )
        >>> made.lab, made.spread, made.distance
        ('81 3 5', '2.0', '9.0')
    """
    words = " ".join(f"{value:.0f}" for value in lab).replace("-", "\N{MINUS SIGN}")
    return ColourCell(rgb, words, f"{spread:.1f}", f"{distance:.1f}", far)
