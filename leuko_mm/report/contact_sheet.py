"""Contact sheets: many small images with captions on one page.

From a shell, images come from files and the caption is the file's name; the sheet of
the synthetic smear in the docs is made by:

    python -m leuko_mm.report.contact_sheet docs/images/synthetic_contact_sheet.jpg \
        data/synthetic/images/*-1_0.png --columns 10 --tile 110
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.report.html import image_uri, render
from leuko_mm.report.run_page import ClassLabel


def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    columns: int = 5,
    tile: int = 160,
    gap: int = 6,
    paper: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """Lay images out in rows, each fitted into a square tile above its caption.

    Args:
        images: RGB uint8 arrays (H, W, 3) of any sizes; proportions are kept.
        captions: one text an image, or None for a sheet without text.
        columns: tiles in a row.
        tile: side of a tile in pixels.
        gap: pixels between tiles and around the sheet.
        paper: RGB of the sheet.

    Shape:
        -> (rows * (tile + caption) + gaps, columns * tile + gaps, 3), uint8.

    Raises:
        ValueError: if there is no image, one is not RGB uint8, or the captions
            do not match the images.

    Example:
        >>> page = contact_sheet(
        ...     [np.zeros((8, 8, 3), np.uint8)] * 3, columns=2, tile=16
        ... )
        >>> page.shape
        (50, 50, 3)
    """
    _check(images, captions, columns, tile)
    strip = 18 if captions is not None else 0
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    step_y, step_x = tile + strip + gap, tile + gap
    page = np.empty((rows * step_y + gap, columns * step_x + gap, 3), np.uint8)
    page[:] = paper
    for index, image in enumerate(images):
        top = gap + index // columns * step_y
        left = gap + index % columns * step_x
        fitted = _fit(image, tile)
        height, width = fitted.shape[:2]
        y, x = top + (tile - height) // 2, left + (tile - width) // 2
        page[y : y + height, x : x + width] = fitted
        if captions is not None:
            space = page[top + tile : top + tile + strip, left : left + tile]
            space[:] = _caption(captions[index], space)
    return page


def _check(images, captions, columns: int, tile: int) -> None:
    if not len(images) or columns < 1 or tile < 1:
        raise ValueError(
            f"got {len(images)} images, {columns} columns, tiles of {tile} px; "
            "a sheet needs at least 1 of each"
        )
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    for index, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"image {index} is {image.shape} {image.dtype}; "
                "expected (H, W, 3) uint8"
            )


def _fit(image: np.ndarray, tile: int) -> np.ndarray:
    """Scale an image so that its longer side fills the tile."""
    factor = tile / max(image.shape[:2])
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def _caption(text: str, space: np.ndarray) -> np.ndarray:
    """Write a text on a copy of a strip of paper, shortened to what fits."""
    strip = np.ascontiguousarray(space)
    ink = (0, 0, 0) if strip.mean() > 127 else (255, 255, 255)
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    while text and cv2.getTextSize(text, font, size, 1)[0][0] > strip.shape[1] - 4:
        text = text[:-1]
    cv2.putText(strip, text, (2, 13), font, size, ink, 1, cv2.LINE_AA)
    return strip


def read_images(files: Sequence[Path]) -> list[np.ndarray]:
    """Read RGB images.

    Raises:
        ValueError: if a file is missing or no image.
    """
    images = []
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{file} is missing or no image that OpenCV reads")
        images.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return images


def write_sheet(out: Path, page: np.ndarray, *, quality: int = 85) -> None:
    """Write an RGB page as PNG or JPEG, whichever the name says.

    Args:
        out: file whose name ends in .png, .jpg or .jpeg.
        page: (H, W, 3) RGB uint8.
        quality: of a JPEG, 0-100.

    Raises:
        ValueError: if the name ends otherwise.
    """
    options = {
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 9],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
    }.get(out.suffix.lower())
    if options is None:
        raise ValueError(f"{out} must end in .png, .jpg or .jpeg")
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), cv2.cvtColor(page, cv2.COLOR_RGB2BGR), options)


def _by_numbers(file: Path) -> list:
    """Sort key that puts baso_2 before baso_10."""
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", file.name)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a contact sheet of image files, in the order of the numbers in them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, help="PNG or JPEG file to write")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--tile", type=int, default=160, help="pixels")
    given = parser.parse_args(arguments)
    files = sorted(given.images, key=_by_numbers)
    page = contact_sheet(
        read_images(files),
        [file.stem for file in files],
        columns=given.columns,
        tile=given.tile,
    )
    write_sheet(given.out, page)


if __name__ == "__main__":
    main()


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
