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
    """Paint a label map in the class colours; ids without one come out grey.

    Args:
        labels: class ids, 0-255.
        colours: RGB of each id in order.

    Shape:
        (H, W) -> (H, W, 3) uint8 RGB.

    Example:
        >>> colourise(np.array([[0, 3, 255]])).tolist()
        [[[0, 0, 0], [255, 255, 0], [128, 128, 128]]]
    """
    return label_lut(colours)[label_bytes(labels)]


def flat_palette(colours: tuple[RGB, ...] = CLASS_COLOURS) -> list[int]:
    """Return the 768 numbers (r, g, b of ids 0-255) that a palette PNG carries.

    Example:
        >>> flat_palette()[3:9]
        [255, 0, 0, 0, 255, 0]
    """
    # (256, 3) -> (768,)
    return label_lut(colours).ravel().tolist()


def save_palette_png(
    path: str | Path, labels: np.ndarray, colours: tuple[RGB, ...] = CLASS_COLOURS
) -> None:
    """Write a mask whose pixels stay the ids while viewers show the colours.

    Args:
        path: file to write, ending in .png; its folder must exist.
        labels: class ids, 0-255.
        colours: RGB of each id in order.

    Shape:
        labels (H, W).

    Raises:
        ValueError: if the name does not end in .png: other formats change ids.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: masks are kept as .png, which preserves the ids")
    picture = Image.fromarray(label_bytes(labels), mode="L")
    # Attaching a palette turns L into P without touching a pixel.
    picture.putpalette(flat_palette(colours))
    picture.save(path, optimize=True)


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


ALPHA = 0.22
# Share of a cell's width: an outline that is seen and hides nothing, a readable number.
OUTLINE_SHARE, NUMBER_SHARE = 0.03, 0.22
OUTLINES, NUMBERS = (1, 6), (11, 48)
INK_CELL_OVERLAY, PAPER = (0, 0, 0), (255, 255, 255)


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
        draw.text(
            (x, y), text, PAPER, font, stroke_width=border, stroke_fill=INK_CELL_OVERLAY
        )
    return np.asarray(picture)


GAP = 8


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Lay images of one size out in a row, with a white gap between them.

    Args:
        images: uint8 RGB, one or more.

    Shape:
        n times (H, W, 3) -> (H, n * W + (n - 1) * GAP, 3).

    Raises:
        ValueError: if there is none, or their shapes differ.

    Example:
        >>> one = np.zeros((4, 5, 3), np.uint8)
        >>> side_by_side([one, one]).shape
        (4, 18, 3)
    """
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise ValueError(f"expected images of one shape, got {sorted(shapes)}")
    height, width, channels = shapes.pop()
    wide = (height, len(images) * (width + GAP) - GAP, channels)
    row = np.full(wide, 255, np.uint8)
    for i, image in enumerate(images):
        left = i * (width + GAP)
        row[:, left : left + width] = image
    return row
