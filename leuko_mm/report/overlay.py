"""Masks drawn on images: one overlay, or a row that sets two masks side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leuko_mm.classes import BACKGROUND, CLASSES, IGNORE_LABEL, label_lut
from leuko_mm.report.palette import RGB, label_bytes

CLASS_LEGEND: Mapping[str, RGB] = {c.name: c.colour for c in CLASSES}

# None of these is near a class colour.
ERROR_COLOURS: Mapping[str, RGB] = {
    "missed": (230, 110, 0),
    "false alarm": (0, 170, 200),
    "wrong class": (230, 0, 150),
}

PANEL_WIDTH = 384
MARGIN = 14
CAPTION_SIZE = 18
TITLE_SIZE = 22
LEGEND_SIZE = 16
INK = (30, 30, 30)
WHITE = (255, 255, 255)


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
        ValueError: if image and labels do not fit, or alpha leaves 0-1.

    Example:
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 8), np.uint8)
        >>> labels[1:7, 1:7] = 1
        >>> drawn = overlay(image, labels, alpha=0.5, outline=1)
        >>> drawn[0, 0].tolist(), drawn[1, 1].tolist(), drawn[4, 4].tolist()
        ([200, 200, 200], [255, 0, 0], [228, 100, 100])
    """
    labels = label_bytes(labels)
    _require_image(image_rgb, labels.shape)
    if not 0 <= alpha <= 1 or outline < 0:
        raise ValueError(
            f"alpha is {alpha} and outline {outline}; expected 0 <= alpha <= 1 and "
            "outline >= 0"
        )
    colours = label_lut(tuple(legend.values()))
    drawn = image_rgb.copy()
    regions = {label: cv2.inRange(labels, label, label) for label in _painted(labels)}
    for label, region in regions.items():
        cv2.copyTo(_blended(drawn, colours[label], alpha), region, drawn)
    if outline:
        # Without a light line beside it a purple edge is lost on a purple cell.
        beside = _inner_edges(regions.values(), labels.shape, outline + 1)
        cv2.copyTo(_blended(drawn, WHITE, 0.65), beside, drawn)
        edge = _inner_edges(regions.values(), labels.shape, outline)
        cv2.copyTo(colours[labels], edge, drawn)
    return drawn


def truth_against_prediction(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    enhanced: np.ndarray | None = None,
    title: str = "",
    captions: Mapping[str, str] | None = None,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> np.ndarray:
    """Lay image, truth, prediction and their differences out in one row.

    The last panel shows the image in pale grey and colours what differs: cell
    missed, background taken for a cell, or cell of the wrong class.

    Args:
        image: the input, uint8 RGB.
        truth: class ids of the mask; 255 is not judged.
        prediction: class ids that the model gave.
        enhanced: the image as the model saw it, an extra panel; uint8 RGB.
        title: a line above the row; empty for none.
        captions: other words for the panels ``input``, ``enhanced``, ``truth``,
            ``prediction``, ``errors``.
        legend: name and RGB of each id in order.

    Shape:
        (H, W, 3), (H, W), (H, W) -> (height, width, 3) uint8 RGB.

    Raises:
        ValueError: if the arrays do not fit or a caption names no panel.
    """
    for labels in (truth, prediction):
        _require_image(image, labels.shape)
    wide = _enlarged(image)
    masks = [_enlarged(label_bytes(labels)) for labels in (truth, prediction)]
    panels = {"input": wide}
    if enhanced is not None:
        _require_image(enhanced, truth.shape)
        panels["enhanced"] = _enlarged(enhanced)
    panels["truth"] = overlay(wide, masks[0], legend=legend)
    panels["prediction"] = overlay(wide, masks[1], legend=legend)
    panels["errors"] = _errors(wide, *masks)
    unknown = sorted(set(captions or {}) - set(panels))
    if unknown:
        raise ValueError(f"captions for {unknown}; expected names among {list(panels)}")
    named = {(captions or {}).get(key, key): panel for key, panel in panels.items()}
    return _row(named, title, legend)


def _require_image(image: np.ndarray, shape: tuple[int, ...]) -> None:
    if image.dtype != np.uint8 or image.shape != (*shape, 3):
        raise ValueError(
            f"the image has shape {image.shape} and dtype {image.dtype}, the labels "
            f"shape {tuple(shape)}; expected (H, W, 3) uint8 RGB and (H, W)"
        )


def _painted(labels: np.ndarray) -> list[int]:
    present = np.bincount(labels.ravel(), minlength=BACKGROUND + 1) > 0
    present[BACKGROUND] = False
    return np.flatnonzero(present).tolist()


def _blended(image: np.ndarray, colour: RGB, alpha: float) -> np.ndarray:
    """Blend one colour over an image; of 256 values each is computed once."""
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


def _enlarged(array: np.ndarray) -> np.ndarray:
    height, width = array.shape[:2]
    size = (PANEL_WIDTH, max(1, round(height * PANEL_WIDTH / width)))
    if array.ndim == 2:
        return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST_EXACT)
    smooth = cv2.INTER_CUBIC if width < PANEL_WIDTH else cv2.INTER_AREA
    return cv2.resize(array, size, interpolation=smooth)


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
    height = next(iter(panels.values())).shape[0]
    step = PANEL_WIDTH + MARGIN
    top = MARGIN + (TITLE_SIZE + MARGIN if title else 0)
    bottom = top + CAPTION_SIZE + 8 + height
    size = (MARGIN + step * len(panels), bottom + 2 * MARGIN + LEGEND_SIZE)
    sheet = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(TITLE_SIZE))
    font = ImageFont.load_default(CAPTION_SIZE)
    for column, (caption, panel) in enumerate(panels.items()):
        left = MARGIN + step * column
        draw.text((left, top), caption, INK, font)
        sheet.paste(Image.fromarray(panel), (left, top + CAPTION_SIZE + 8))
    _draw_legend(draw, bottom + MARGIN, size[0], legend)
    return np.asarray(sheet)


def _draw_legend(
    draw: ImageDraw.ImageDraw, y: int, width: int, legend: Mapping[str, RGB]
) -> None:
    font = ImageFont.load_default(LEGEND_SIZE)
    cells = dict(list(legend.items())[1:])

    def entries(x: float, named: Mapping[str, RGB]) -> float:
        for name, colour in named.items():
            draw.rectangle((x, y, x + LEGEND_SIZE, y + LEGEND_SIZE), colour, INK)
            draw.text((x + LEGEND_SIZE + 6, y - 1), name, INK, font)
            x += LEGEND_SIZE + 6 + draw.textlength(name, font) + 1.5 * MARGIN
        return x

    entries(MARGIN, cells)
    # The errors belong to the last panel: their names stand under it.
    errors = dict(ERROR_COLOURS)
    if len(cells) == 1:
        del errors["wrong class"]
    entries(width - PANEL_WIDTH - MARGIN, errors)
