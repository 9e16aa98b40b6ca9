"""Single cells drawn on their image: colour of the class, outline, number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.report.palette import RGB

ALPHA = 0.22
# Share of a cell's width: an outline that is seen and hides nothing, a readable number.
OUTLINE_SHARE, NUMBER_SHARE = 0.03, 0.22
OUTLINES, NUMBERS = (1, 6), (11, 48)
INK, PAPER = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class DrawnCell:
    """One cell to draw.

    Args:
        id: its number in the map of instances, and on the picture.
        colour: of its class.
        box: x0, y0, x1, y1, ends excluded.
    """

    id: int
    colour: RGB
    box: tuple[int, int, int, int]


def cell_overlay(
    image: np.ndarray, instances: np.ndarray, cells: Sequence[DrawnCell]
) -> np.ndarray:
    """Draw every cell in its colour, with an outline and its number.

    Cells are drawn one by one in their boxes, so that touching cells of a class are
    told apart, and a large image costs no more than its copy. Pixels without a cell,
    outline or number keep their exact value.

    Args:
        image: uint8 RGB.
        instances: ids of cells, 0 where none is.
        cells: to draw; others are left out.

    Shape:
        (H, W, 3), (H, W) -> (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if image and instances do not fit.

    Example:
        >>> image = np.full((40, 40, 3), 200, np.uint8)
        >>> instances = np.zeros((40, 40), np.int32)
        >>> instances[10:30, 10:30] = 1
        >>> drawn = cell_overlay(
        ...     image, instances, [DrawnCell(1, (255, 0, 0), (10, 10, 30, 30))]
        ... )
        >>> drawn[10, 20].tolist(), drawn[39, 39].tolist()
        ([255, 0, 0], [200, 200, 200])
    """
    if image.shape != (*instances.shape, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}, the instances "
            f"{instances.shape}; expected (H, W, 3) uint8 RGB and (H, W)"
        )
    drawn = image.copy()
    for cell in cells:
        _paint(drawn, instances, cell)
    return _numbered(drawn, cells) if cells else drawn


def reduced(
    image: np.ndarray, instances: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return image and instances shrunk by a whole number.

    Shape:
        (H, W, 3), (H, W) -> (H // factor, W // factor, 3) and the same without 3.
    """
    if factor == 1:
        return image, instances
    height, width = (max(1, side // factor) for side in instances.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    middle = factor // 2
    return small, instances[middle::factor, middle::factor][:height, :width]


def _size(cell: DrawnCell) -> int:
    x0, y0, x1, y1 = cell.box
    return max(x1 - x0, y1 - y0)


def _between(value: float, limits: tuple[int, int]) -> int:
    return int(min(max(round(value), limits[0]), limits[1]))


def _paint(drawn: np.ndarray, instances: np.ndarray, cell: DrawnCell) -> None:
    width = _between(OUTLINE_SHARE * _size(cell), OUTLINES)
    x0, y0, x1, y1 = cell.box
    inside = (instances[y0:y1, x0:x1] == cell.id).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    # Beyond the image counts as outside, so that a cut cell is outlined there too.
    padded = np.pad(inside, 1)
    inner = cv2.erode(padded, kernel, iterations=width)[1:-1, 1:-1]
    light = cv2.erode(padded, kernel, iterations=width + 1)[1:-1, 1:-1]
    window = drawn[y0:y1, x0:x1]
    colour = np.array(cell.colour, np.float32)
    core = light.astype(bool)
    window[core] = np.rint((1 - ALPHA) * window[core] + ALPHA * colour)
    # Without a light line beside it a purple edge is lost on a purple cell.
    window[(inner > light)] = PAPER
    window[(inside > inner)] = cell.colour


def _numbered(drawn: np.ndarray, cells: Sequence[DrawnCell]) -> np.ndarray:
    picture = Image.fromarray(drawn)
    draw = ImageDraw.Draw(picture)
    for cell in cells:
        size = _between(NUMBER_SHARE * _size(cell), NUMBERS)
        font = ImageFont.load_default(size)
        text, border = str(cell.id), max(1, size // 10)
        _, _, right, bottom = draw.textbbox((0, 0), text, font, stroke_width=border)
        # At the upper left corner of its box, moved into the picture.
        x = min(max(cell.box[0] - right // 3, border), picture.width - right)
        y = min(max(cell.box[1] - bottom // 2, border), picture.height - bottom)
        draw.text((x, y), text, PAPER, font, stroke_width=border, stroke_fill=INK)
    return np.asarray(picture)
