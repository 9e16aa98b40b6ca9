"""The page about a dataset's check: plain data in, the text of one HTML file out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from leuko_mm.report.html import picture, render
from leuko_mm.report.overlay import RGB, fitted, overlay
from leuko_mm.report.run_page import ClassLabel

THUMBNAIL_SIDE = 200  # px of the longer side: sharp at 100 on a phone
QUALITY = 82
# What a severity is called on the page: in words as well as in colour.
SIGNS = {"error": "✗ error", "warning": "! warning", "note": "· note"}


@dataclass(frozen=True)
class FindingPicture:
    """A picture (H, W, 3) and class ids (H, W) to outline on it; None shows it bare."""

    stem: str
    image: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class FindingSection:
    """All findings of one kind.

    ``shown`` are the first ones, as (file, words, pictures), ``further`` the others.
    """

    severity: str
    title: str
    cure: str
    shown: tuple[tuple[str, str, tuple[FindingPicture, ...]], ...]
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """Content of the page; classes by id, sections with the gravest first.

    Args:
        tally: number of findings by severity.
        counts: (split, part, cells of each class without the background).
    """

    name: str
    summary: str
    tally: Mapping[str, int]
    classes: tuple[ClassLabel, ...]
    sections: tuple[FindingSection, ...]
    counts: tuple[tuple[str, str, tuple[int, ...]], ...]
    closing: str


def render_check_report(check: CheckReport) -> str:
    """Return the page as the text of one HTML file, every text escaped."""
    legend = {label.name: label.colour for label in check.classes}
    return render(
        "check.html",
        {
            "title": f"{check.name}: dataset check",
            "script": "",
            "check": check,
            "signs": SIGNS,
            "thumbnails": [
                [
                    [_thumbnail(p, legend) for p in pictures]
                    for _, _, pictures in s.shown
                ]
                for s in check.sections
            ],
        },
    )


def _thumbnail(shown: FindingPicture, legend: Mapping[str, RGB]) -> dict:
    image = fitted(shown.image, THUMBNAIL_SIDE)
    if shown.labels is not None:
        labels = fitted(shown.labels, THUMBNAIL_SIDE)
        image = overlay(image, labels, alpha=0.12, outline=1, legend=legend)
    return dict(stem=shown.stem, **picture(image, quality=QUALITY))
