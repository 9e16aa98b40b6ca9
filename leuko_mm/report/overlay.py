"""Masks and cells drawn on images, in the class colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.classes import BACKGROUND, CLASS_COLOURS, CLASSES, IGNORE_LABEL, label_lut

RGB = tuple[int, int, int]

CLASS_LEGEND: Mapping[str, RGB] = {c.name: c.colour for c in CLASSES}
# None of these is near a class colour.
ERROR_COLOURS: Mapping[str, RGB] = {
    "missed": (230, 110, 0),
    "false alarm": (0, 170, 200),
    "wrong class": (230, 0, 150),
}
BLACK, INK, WHITE = (0, 0, 0), (30, 30, 30), (255, 255, 255)

# The row of panels of ``truth_against_prediction``, in pixels.
PANEL_WIDTH, MARGIN = 384, 14
CAPTION_SIZE, TITLE_SIZE, LEGEND_SIZE = 18, 22, 16

# ``cell_overlay``: width of outline and size of number as shares of the cell's longer
# side, and their limits in pixels.
OUTLINE_SHARE, NUMBER_SHARE = 0.03, 0.22
OUTLINES, NUMBERS = (1, 6), (11, 48)
# Dash and gap of the outline of an unsure cell, as multiples of its width.
DASH, GAP = 4, 4


def label_bytes(labels: np.ndarray) -> np.ndarray:
    """Return a label map as uint8, refusing what a byte cannot hold.

    Shape:
        (H, W) integers -> (H, W) uint8.

    Raises:
        ValueError: if the array is not two-dimensional, not of integers, or
            holds values outside 0-255.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise ValueError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; expected "
            "(H, W) integers; take the argmax of logits and drop the batch axis"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= 255:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to 255"
        )
    return labels.astype(np.uint8)


def colourise(
    labels: np.ndarray, colours: tuple[RGB, ...] = CLASS_COLOURS
) -> np.ndarray:
    """Paint a label map (H, W) in RGB class colours; ids without one become grey."""
    return label_lut(colours)[label_bytes(labels)]


def save_palette_png(
    path: str | Path, labels: np.ndarray, colours: tuple[RGB, ...] = CLASS_COLOURS
) -> None:
    """Write a mask whose pixels are the ids, while viewers show the colours.

    Raises:
        ValueError: if the name does not end in .png: other formats change ids.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: masks are kept as .png, which preserves the ids")
    picture = Image.fromarray(label_bytes(labels))
    # With a palette, mode L becomes P; no pixel changes.
    picture.putpalette(label_lut(colours).ravel().tolist())
    picture.save(path, optimize=True)


def resized(array: np.ndarray, factor: float) -> np.ndarray:
    """Scale an image smoothly, or a label map without mixing ids; at least 1 pixel."""
    height, width = (max(1, round(side * factor)) for side in array.shape[:2])
    if array.ndim == 2:
        method = cv2.INTER_NEAREST_EXACT
    else:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(array, (width, height), interpolation=method)


def fitted(array: np.ndarray, side: int) -> np.ndarray:
    """Scale an image or a label map so that its longer side is ``side`` pixels."""
    return resized(array, side / max(array.shape[:2]))


def overlay(
    image_rgb: np.ndarray,
    labels: np.ndarray,
    *,
    alpha: float = 0.35,
    outline: int = 2,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Blend class colours over an image and draw each region's inner edge.

    Background pixels keep their exact value; the edge is drawn inside a region,
    followed by a light line one pixel wide. Neighbouring regions of different
    classes each get one.

    Args:
        image_rgb: uint8 RGB.
        labels: class ids; ids without a colour (255) are blended grey.
        alpha: share of the class colour, 0-1.
        outline: width of the edge in pixels; 0 draws none.
        legend: name and RGB of each id in order.

    Shape:
        (H, W, 3), (H, W) -> (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if image and labels do not fit, or alpha is outside 0-1.
    """
    labels = label_bytes(labels)
    _check_shapes(image_rgb, labels)
    if not 0 <= alpha <= 1 or outline < 0:
        raise ValueError(
            f"alpha is {alpha} and outline {outline}; expected 0 <= alpha <= 1 and "
            "outline >= 0"
        )
    colours = label_lut(tuple(legend.values()))
    drawn = image_rgb.copy()
    present = set(np.unique(labels).tolist()) - {BACKGROUND}
    regions = {label: cv2.inRange(labels, label, label) for label in sorted(present)}
    for label, region in regions.items():
        cv2.copyTo(_blended(drawn, colours[label], alpha), region, drawn)
    if outline:
        # Without a light line beside it a purple edge is lost on a purple cell.
        beside = _inner_edges(regions.values(), labels.shape, outline + 1)
        cv2.copyTo(_blended(drawn, WHITE, 0.65), beside, drawn)
        edge = _inner_edges(regions.values(), labels.shape, outline)
        cv2.copyTo(colours[labels], edge, drawn)
    return drawn


def _check_shapes(image: np.ndarray, labels: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.shape != (*labels.shape, 3):
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}, the labels "
            f"shape {labels.shape}; expected (H, W, 3) uint8 RGB and (H, W)"
        )


def _blended(image: np.ndarray, colour: RGB, alpha: float) -> np.ndarray:
    """Blend one colour over an image through a table of the 256 possible values."""
    values = np.arange(256)[:, None]
    table = (1 - alpha) * values + alpha * np.asarray(colour, np.float64)
    return cv2.LUT(image, np.rint(table).astype(np.uint8)[None])


def _inner_edges(
    regions: Iterable[np.ndarray], shape: tuple[int, int], width: int
) -> np.ndarray:
    """Return 255 where a region's edge runs inside it, ``width`` pixels wide."""
    edge = np.zeros(shape, np.uint8)
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    for region in regions:
        edge |= region - cv2.erode(region, kernel)
    return edge


def truth_against_prediction(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    enhanced: np.ndarray | None = None,
    title: str = "",
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Lay image, truth, prediction and their differences out in one row.

    The last panel shows the image in pale grey and colours what differs: cell
    missed, background taken for a cell, or cell of the wrong class.

    Args:
        image: the input, uint8 RGB.
        truth, prediction: class ids; true ones of 255 are not judged.
        enhanced: the image as the model saw it, an extra panel; uint8 RGB.
        title: a line above the row; empty for none.
        legend: name and RGB of each id in order.

    Shape:
        (H, W, 3), (H, W), (H, W) -> (height, width, 3) uint8 RGB.

    Raises:
        ValueError: if the arrays do not fit.
    """
    for pixels, labels in (
        (image, truth),
        (image, prediction),
        (image if enhanced is None else enhanced, truth),
    ):
        _check_shapes(pixels, labels)
    factor = PANEL_WIDTH / image.shape[1]
    wide = resized(image, factor)
    truth, prediction = (
        resized(label_bytes(labels), factor) for labels in (truth, prediction)
    )
    panels = {"input": wide}
    if enhanced is not None:
        panels["enhanced"] = resized(enhanced, factor)
    panels["truth"] = overlay(wide, truth, legend=legend)
    panels["prediction"] = overlay(wide, prediction, legend=legend)
    panels["errors"] = _errors(wide, truth, prediction)
    return _row(panels, title, legend)


def _errors(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    drawn = np.repeat((170 + grey // 3)[..., None], 3, axis=2)
    wrong = (truth != prediction) & (truth != IGNORE_LABEL)
    kinds = {
        "missed": wrong & (prediction == BACKGROUND),
        "false alarm": wrong & (truth == BACKGROUND),
        "wrong class": wrong & (truth != BACKGROUND) & (prediction != BACKGROUND),
    }
    for kind, where in kinds.items():
        drawn[where] = ERROR_COLOURS[kind]
    return drawn


def _row(
    panels: Mapping[str, np.ndarray], title: str, legend: Mapping[str, RGB]
) -> np.ndarray:
    height = panels["input"].shape[0]
    step = PANEL_WIDTH + MARGIN
    top = MARGIN + (TITLE_SIZE + MARGIN if title else 0)
    bottom = top + CAPTION_SIZE + 8 + height
    width = MARGIN + step * len(panels)
    sheet = Image.new("RGB", (width, bottom + 2 * MARGIN + LEGEND_SIZE), WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(TITLE_SIZE))
    font = ImageFont.load_default(CAPTION_SIZE)
    for column, (caption, panel) in enumerate(panels.items()):
        left = MARGIN + step * column
        draw.text((left, top), caption, INK, font)
        sheet.paste(Image.fromarray(panel), (left, top + CAPTION_SIZE + 8))
    cells = dict(list(legend.items())[1:])
    errors = dict(ERROR_COLOURS)
    if len(cells) == 1:
        del errors["wrong class"]
    _draw_legend(draw, MARGIN, bottom + MARGIN, cells)
    # Below the last panel, which they explain.
    _draw_legend(draw, width - PANEL_WIDTH - MARGIN, bottom + MARGIN, errors)
    return np.asarray(sheet)


def _draw_legend(
    draw: ImageDraw.ImageDraw, x: float, y: int, colours: Mapping[str, RGB]
) -> None:
    font = ImageFont.load_default(LEGEND_SIZE)
    for name, colour in colours.items():
        draw.rectangle((x, y, x + LEGEND_SIZE, y + LEGEND_SIZE), colour, INK)
        draw.text((x + LEGEND_SIZE + 6, y - 1), name, INK, font)
        x += LEGEND_SIZE + 6 + draw.textlength(name, font) + 1.5 * MARGIN


@dataclass(frozen=True)
class DrawnCell:
    """One cell to draw; box is x0, y0, x1, y1, ends excluded.

    One that is ``unsure`` gets a dashed outline and a question mark.
    """

    id: int
    colour: RGB
    box: tuple[int, int, int, int]
    unsure: bool = False

    def scaled(self, share: float, limits: tuple[int, int]) -> int:
        """Return a share of the longer side in pixels, within limits."""
        x0, y0, x1, y1 = self.box
        return int(np.clip(round(share * max(x1 - x0, y1 - y0)), *limits))


def cell_overlay(
    image: np.ndarray, instances: np.ndarray, cells: Sequence[DrawnCell]
) -> np.ndarray:
    """Outline every cell in the colour of its class, and number it.

    Touching cells of a class get an outline each. All other pixels keep their exact
    value: cells differ by the colour of their granules.

    Shape:
        (H, W, 3), (H, W) -> (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if image and instances do not fit.
    """
    _check_shapes(image, instances)
    drawn = image.copy()
    for cell in cells:
        _paint(drawn, instances, cell)
    return _numbered(drawn, cells) if cells else drawn


def _paint(drawn: np.ndarray, instances: np.ndarray, cell: DrawnCell) -> None:
    width = cell.scaled(OUTLINE_SHARE, OUTLINES)
    x0, y0, x1, y1 = cell.box
    inside = (instances[y0:y1, x0:x1] == cell.id).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    # Beyond the image counts as outside, so that a cut cell is outlined there too.
    padded = np.pad(inside, 1)
    inner = cv2.erode(padded, kernel, iterations=width)[1:-1, 1:-1]
    core = cv2.erode(padded, kernel, iterations=width + 1)[1:-1, 1:-1]
    window = drawn[y0:y1, x0:x1]
    # Without a light line beside it a purple edge is lost on a purple cell.
    window[inner > core] = WHITE
    outline = inside > inner
    if cell.unsure:
        gaps = _gaps(inside, kernel, width)
        window[outline & gaps] = WHITE
        outline &= ~gaps
    window[outline] = cell.colour


def _gaps(inside: np.ndarray, kernel: np.ndarray, width: int) -> np.ndarray:
    gaps = np.zeros_like(inside)
    edges, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for edge in edges:
        # The dilation lengthens a gap by the width at both ends.
        places = np.arange(len(edge)) % ((DASH + GAP) * width)
        columns, rows = edge[places < (GAP - 2) * width, 0].T
        gaps[rows, columns] = 1
    return cv2.dilate(gaps, kernel, iterations=width) > 0


def _numbered(drawn: np.ndarray, cells: Sequence[DrawnCell]) -> np.ndarray:
    picture = Image.fromarray(drawn)
    draw = ImageDraw.Draw(picture)
    for cell in cells:
        size = cell.scaled(NUMBER_SHARE, NUMBERS)
        border = max(1, size // 10)
        font = ImageFont.load_default(size)
        style = dict(font=font, stroke_width=border)
        text = f"{cell.id}{'?' * cell.unsure}"
        _, _, right, bottom = draw.textbbox((0, 0), text, **style)
        # At the upper left corner of its box, moved into the picture.
        x = min(max(cell.box[0] - right // 3, border), picture.width - right)
        y = min(max(cell.box[1] - bottom // 2, border), picture.height - bottom)
        draw.text((x, y), text, WHITE, stroke_fill=BLACK, **style)
    return np.asarray(picture)


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
