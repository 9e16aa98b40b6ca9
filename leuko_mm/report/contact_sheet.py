"""Contact sheets: many small images with captions, as one picture or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.report.html import picture, render
from leuko_mm.report.overlay import BLACK, WHITE, fitted
from leuko_mm.report.run_page import ClassLabel

GAP, CAPTION_HEIGHT = 6, 18  # px on a sheet
SMALL_TILE = 160  # px of a cell on its sheet
PAGE_QUALITY, SHEET_QUALITY = 90, 85  # of JPEGs


def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    columns: int = 5,
    tile: int = 160,
) -> np.ndarray:
    """Lay images out in rows, each fitted into a square tile above its caption.

    Args:
        images: uint8 RGB of any sizes; proportions are kept.
        captions: one text an image, shortened to the width of its tile.
        tile: side of a tile in pixels.

    Shape:
        n times (H, W, 3) -> (height, width, 3), uint8.

    Raises:
        ValueError: if an image is missing or not RGB uint8, or captions do not match.
    """
    if not len(images) or columns < 1 or tile < 1:
        raise ValueError(
            f"got {len(images)} images, {columns} columns, tiles of {tile} px; "
            "a sheet needs at least 1 of each"
        )
    if len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"image {index} is {image.shape} {image.dtype}; "
                "expected (H, W, 3) uint8"
            )
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    step_y, step_x = tile + CAPTION_HEIGHT + GAP, tile + GAP
    sheet = np.full((rows * step_y + GAP, columns * step_x + GAP, 3), 255, np.uint8)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top = GAP + index // columns * step_y
        left = GAP + index % columns * step_x
        small = fitted(image, tile)
        height, width = small.shape[:2]
        y, x = top + (tile - height) // 2, left + (tile - width) // 2
        sheet[y : y + height, x : x + width] = small
        strip = sheet[top + tile : top + tile + CAPTION_HEIGHT, left : left + tile]
        strip[:] = _caption(caption, tile)
    return sheet


def _caption(text: str, width: int) -> np.ndarray:
    """Return a white strip with as much of a text as fits."""
    strip = np.full((CAPTION_HEIGHT, width, 3), WHITE, np.uint8)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    while text and cv2.getTextSize(text, font, size, 1)[0][0] > width - 4:
        text = text[:-1]
    return cv2.putText(strip, text, (2, 13), font, size, BLACK, 1, cv2.LINE_AA)


def write_sheet(out: Path, sheet: np.ndarray) -> None:
    """Write an RGB sheet as PNG or JPEG, by the suffix of the file.

    Raises:
        ValueError: if the name ends otherwise.
        OSError: if the file cannot be written.
    """
    options = {
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY],
    }.get(out.suffix.lower())
    if options is None:
        raise ValueError(f"{out} must end in .png, .jpg or .jpeg")
    bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
    out.write_bytes(cv2.imencode(out.suffix.lower(), bgr, options)[1].tobytes())


@dataclass(frozen=True)
class Figure:
    """One or two pictures (H, W, 3) of a cell, a mosaic, or an image of a batch.

    ``classes`` are those of its labels, without the background.
    """

    title: str
    notes: tuple[str, ...]
    classes: tuple[ClassLabel, ...]
    pictures: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Sheet:
    """Figures of one kind: many ``small`` ones, or a few shown pixel for pixel."""

    name: str
    title: str
    lead: str
    small: bool
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class BrowsePage:
    """Content of the page; classes with their number of cells, None if unknown."""

    name: str
    summary: str
    classes: tuple[tuple[ClassLabel, int | None], ...]
    facts: tuple[tuple[str, str], ...]
    sheets: tuple[Sheet, ...]


def render_browse_page(page: BrowsePage) -> str:
    """Return the page as one HTML file, every text escaped; pictures are JPEG."""
    pictures = [
        [[picture(p, quality=PAGE_QUALITY) for p in f.pictures] for f in sheet.figures]
        for sheet in page.sheets
    ]
    return render(
        "browse.html",
        {
            "title": f"{page.name}: contact sheets",
            "script": "",
            "page": page,
            "links": [*((s.name, s.title) for s in page.sheets), ("facts", "Facts")],
            "pictures": pictures,
        },
    )


def draw_sheet(sheet: Sheet) -> np.ndarray:
    """Return a sheet as one RGB picture; large figures keep their pixels."""
    pictures = [p for figure in sheet.figures for p in figure.pictures]
    captions = [
        "labels" if number else figure.title
        for figure in sheet.figures
        for number in range(len(figure.pictures))
    ]
    if sheet.small:
        return contact_sheet(pictures, captions, columns=8, tile=SMALL_TILE)
    side = max(max(p.shape[:2]) for p in pictures)
    return contact_sheet(pictures, captions, columns=4, tile=side)
