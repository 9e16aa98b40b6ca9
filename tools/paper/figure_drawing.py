"""The paper's figures, drawn: plain pictures and labels in, one RGB array out.

Used by ``tools/paper/figures.py``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.report.overlay import CLASS_LEGEND, RGB, colourise, label_bytes, overlay

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MARGIN = 14
GAP = 6
WORDS_SIZE = 15
LINE = 19
INK = (30, 30, 30)
WHITE = (255, 255, 255)
# Average pixels of a letter, and room for one more.
LETTER = 7.6


@dataclass(frozen=True)
class ShownMosaic:
    """A mosaic as taken, enhanced, its truth, and what each method made of it.

    Args:
        image, enhanced: uint8 RGB.
        truth: class ids.
        predictions: class ids of each method, in the order of the columns.

    Shape:
        image, enhanced (H, W, 3); truth, predictions (H, W).
    """

    image: np.ndarray
    enhanced: np.ndarray
    truth: np.ndarray
    predictions: tuple[np.ndarray, ...] = ()


def cut_out(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cells of an image, everything that is labelled background black.

    Shape:
        (H, W, 3) uint8, (H, W) -> (H, W, 3) uint8.

    Example:
        >>> cut_out(np.full((1, 2, 3), 9, np.uint8), np.array([[0, 4]])).tolist()
        [[[0, 0, 0], [9, 9, 9]]]
    """
    return np.where((label_bytes(labels) > 0)[..., None], image, np.uint8(0))


def lettered(words: Sequence[str]) -> list[str]:
    """Put (a), (b), ... before words.

    Example:
        >>> lettered(["original", "truth"])
        ['(a) original', '(b) truth']
    """
    return [f"({LETTERS[i % 26]}) {word}" for i, word in enumerate(words)]


def methods_figure(
    mosaics: Sequence[ShownMosaic],
    names: Sequence[str],
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw what each method made of mosaics, and the cells that it cuts out (Fig. 9).

    Args:
        mosaics: with one prediction a method.
        names: of the methods.
        legend: name and RGB of each id in order.
    """
    rows, words = [], []
    for number, shown in enumerate(mosaics, 1):
        masks = [shown.truth, *shown.predictions]
        painted = [_coloured(labels, legend) for labels in masks]
        cut = [cut_out(shown.image, labels) for labels in masks]
        rows.append([shown.image, shown.enhanced, *painted])
        rows.append([None, None, *cut])
        words += [f"{number}", "cells cut out"]
    columns = lettered(["original", "AHE-Retinex", "truth", *names])
    return figure_sheet(
        rows, columns, row_names=words, tile=176, per_band=7, legend=cells_of(legend)
    )


def ablation_figure(
    mosaics: Sequence[ShownMosaic],
    names: Sequence[str],
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw masks blended over mosaics, a column a row of the ablation (Fig. 10)."""
    rows = []
    for shown in mosaics:
        blended = [
            overlay(shown.image, labels, alpha=0.45, outline=2, legend=legend)
            for labels in (shown.truth, *shown.predictions)
        ]
        rows.append([shown.image, shown.enhanced, *blended])
    columns = lettered(["original", "AHE-Retinex", "truth", *names])
    return figure_sheet(rows, columns, tile=208, per_band=6, legend=cells_of(legend))


def counts_figure(
    rows: Mapping[str, Sequence[ShownMosaic]],
    method: str | None,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Draw mosaics of more and more cells (Fig. 11).

    Args:
        rows: mosaics by how they were made, as many of each; with one prediction
            where ``method`` is given.
        method: what segmented them; None draws image and truth alone.
        legend: name and RGB of each id in order.
    """
    drawn, most = [], 0
    for shown in rows.values():
        row = []
        for mosaic in shown:
            masks = (mosaic.truth, *mosaic.predictions)
            row += [mosaic.image, *(_coloured(labels, legend) for labels in masks)]
        drawn.append(row)
        most = max(most, len(shown))
    columns = ["original", "truth", *([method] if method else [])] * most
    return figure_sheet(
        drawn,
        columns,
        row_names=lettered(list(rows)),
        tile=224,
        legend=cells_of(legend),
    )


def cells_of(legend: Mapping[str, RGB]) -> dict[str, RGB]:
    """Return a legend without its first entry, the background."""
    return dict(list(legend.items())[1:])


def _coloured(labels: np.ndarray, legend: Mapping[str, RGB]) -> np.ndarray:
    return colourise(labels, tuple(legend.values()))


def figure_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str],
    *,
    row_names: Sequence[str] = (),
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
    drawn = [_band(rows, columns, row_names, band, tile) for band in bands]
    if legend:
        drawn.append(_legend(legend, max(band.width for band in drawn)))
    return _joined(drawn)


def _band(rows, columns, row_names, band: range, tile: int) -> Image.Image:
    """Draw some of the columns, all rows."""
    words = [textwrap.wrap(columns[i], max(6, int(tile / LETTER))) for i in band]
    head = LINE * max(len(lines) for lines in words) + 4
    names = [textwrap.wrap(name, 16) for name in row_names]
    letters = max((len(w) for n in names for w in n), default=0)
    side = int(letters * LETTER) + GAP if letters else 0
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
    method = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method)


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


def _joined(parts: Sequence[Image.Image]) -> np.ndarray:
    width = max(part.width for part in parts) + 2 * MARGIN
    height = sum(part.height + MARGIN for part in parts) + MARGIN
    sheet = Image.new("RGB", (width, height), WHITE)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return np.asarray(sheet)
