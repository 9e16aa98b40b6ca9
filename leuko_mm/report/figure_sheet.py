"""Pictures in named columns and rows, with the classes' colours below: a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.report.palette import RGB

MARGIN = 14
GAP = 6
WORDS_SIZE = 15
LINE = 19
INK = (30, 30, 30)
WHITE = (255, 255, 255)
# Pixels that a letter takes on average, and room for one more.
LETTER = 7.6


def figure_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str],
    *,
    row_names: Sequence[str] = (),
    name_width: int = 0,
    tile: int = 192,
    per_band: int = 8,
    legend: Mapping[str, RGB] | None = None,
) -> np.ndarray:
    """Lay pictures out in a table; more columns than fit go below, in further bands.

    Args:
        rows: of each row one RGB uint8 picture a column; proportions are kept, and
            None leaves a place empty.
        columns: words above each column.
        row_names: words to the left of each row; empty for none.
        name_width: pixels kept for these at least, so that sheets line up.
        tile: pixels of a picture's longer side.
        per_band: columns beside one another.
        legend: names and colours below the table; None for none.

    Shape:
        -> (height, width, 3) uint8 RGB.

    Raises:
        ValueError: if there is nothing to show, or a row has another number of
            pictures than there are columns.

    Example:
        >>> cell = np.zeros((8, 8, 3), np.uint8)
        >>> figure_sheet([[cell] * 3], ["a", "b", "c"], tile=64, per_band=2).shape
        (216, 162, 3)
    """
    counts = {len(row) for row in rows}
    if not rows or not columns or counts != {len(columns)}:
        raise ValueError(
            f"rows of {sorted(counts)} pictures under {len(columns)} columns; expected "
            "at least one row, with one picture a column"
        )
    if row_names and len(row_names) != len(rows):
        raise ValueError(f"{len(row_names)} names for {len(rows)} rows")
    bands = [
        range(start, min(start + per_band, len(columns)))
        for start in range(0, len(columns), per_band)
    ]
    drawn = [_band(rows, columns, row_names, name_width, band, tile) for band in bands]
    if legend:
        drawn.append(_legend(legend, max(band.width for band in drawn)))
    return _stacked(drawn)


def _band(rows, columns, row_names, side: int, band: range, tile: int) -> Image.Image:
    """Draw some of the columns, all rows."""
    words = [textwrap.wrap(columns[i], max(6, int(tile / LETTER))) for i in band]
    head = LINE * max(len(lines) for lines in words) + 4
    names = [textwrap.wrap(name, 16) for name in row_names]
    letters = max((len(w) for n in names for w in n), default=0)
    side = max(side, int(letters * LETTER) + GAP if letters else 0)
    heights = [_height([row[i] for i in band], tile) + GAP for row in rows]
    size = (side + len(band) * (tile + GAP) - GAP, head + sum(heights) - GAP)
    sheet = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(WORDS_SIZE)
    for place, lines in enumerate(words):
        left = side + place * (tile + GAP)
        draw.multiline_text((left, 0), "\n".join(lines), INK, font, spacing=3)
    top = head
    for number, row in enumerate(rows):
        if names:
            said = "\n".join(names[number])
            draw.multiline_text((0, top), said, INK, font, spacing=3)
        for place, i in enumerate(band):
            if row[i] is not None:
                picture = Image.fromarray(_fitted(row[i], tile))
                sheet.paste(picture, (side + place * (tile + GAP), top))
        top += heights[number]
    return sheet


def _height(pictures: Sequence[np.ndarray | None], tile: int) -> int:
    shapes = [picture.shape for picture in pictures if picture is not None]
    return max((_fitted_size(shape, tile)[1] for shape in shapes), default=0)


def _fitted_size(shape: Sequence[int], tile: int) -> tuple[int, int]:
    factor = tile / max(shape[:2])
    return max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))


def _fitted(image: np.ndarray, tile: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"a picture is {image.shape} {image.dtype}; expected (H, W, 3) uint8"
        )
    size = _fitted_size(image.shape, tile)
    way = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=way)


def _legend(legend: Mapping[str, RGB], width: int) -> Image.Image:
    """Draw the classes' colours, in as many lines as they need."""
    font = ImageFont.load_default(WORDS_SIZE)
    places, x, y = [], 0, 0
    for name, colour in legend.items():
        wide = int(font.getlength(name)) + LINE + 2 * GAP
        if x and x + wide > width:
            x, y = 0, y + LINE + GAP
        places.append((x, y, name, colour))
        x += wide
    strip = Image.new("RGB", (width, y + LINE), WHITE)
    draw = ImageDraw.Draw(strip)
    for left, top, name, colour in places:
        box = (left, top + 2, left + WORDS_SIZE - 1, top + WORDS_SIZE + 1)
        draw.rectangle(box, colour, INK)
        draw.text((left + LINE, top), name, INK, font)
    return strip


def _stacked(parts: Sequence[Image.Image]) -> np.ndarray:
    width = max(part.width for part in parts) + 2 * MARGIN
    height = sum(part.height + MARGIN for part in parts) + MARGIN
    sheet = Image.new("RGB", (width, height), WHITE)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return np.asarray(sheet)
