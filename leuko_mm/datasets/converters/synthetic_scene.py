"""Scenes of a synthetic smear: a crop around one leukocyte, or a whole field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.converters.synthetic_background import (
    place_red_cells,
    scatter_small_things,
    stamp_red_cell,
)
from leuko_mm.datasets.converters.synthetic_canvas import Canvas, smooth_noise
from leuko_mm.datasets.converters.synthetic_cells import Leukocyte, draw_leukocyte
from leuko_mm.datasets.converters.synthetic_stain import (
    CHROMATIN,
    EOSIN,
    SlideStyle,
    develop,
)

CROP_UM = 35.6  # width of the field that a crop shows, whatever its pixels
FIELD_PX_PER_UM = 2 * 256 / CROP_UM
_CUT_CHANCE = 0.06  # cells that the border of their crop cuts
_OVERLAP_CHANCE = 0.35  # neighbours that lie on the leukocyte rather than beside it


def render_cell(
    class_name: str, style: SlideStyle, rng: np.random.Generator, *, size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one crop of a smear with a leukocyte near its middle.

    Args:
        class_name: a leukocyte class or an alias of one.
        style: look of the slide, from ``slide_style``.
        rng: draws everything else.
        size: width and height in pixels; the field shown stays the same.

    Returns:
        The image (size, size, 3), RGB uint8, and its labels (size, size), uint8:
        0 and the class's id.

    Raises:
        ValueError: if the class is unknown or the size below 32.

    Example:
        >>> from leuko_mm.datasets.converters.synthetic import slide_style
        >>> rng = np.random.default_rng(0)
        >>> image, labels = render_cell("mono", slide_style(0, 1), rng, size=64)
        >>> image.shape, np.unique(labels).tolist()
        ((64, 64, 3), [0, 4])
    """
    if size < 32:
        raise ValueError(f"size is {size} pixels; a cell needs at least 32 to show")
    label = class_id(class_name)
    canvas = Canvas(size, size, size / CROP_UM)
    cell = draw_leukocyte(CLASS_NAMES[label], rng, scale=canvas.scale)
    x, y = _position(cell.radius, rng)
    _draw_scene(canvas, style, rng, [(cell, x, y, label)])
    image = develop(canvas.dyes, style, rng, scale=canvas.scale, view=0.7)
    return image, canvas.labels


def render_field(
    style: SlideStyle,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] = (1536, 2048),
    cells: Sequence[str] = ("neutrophil", "lymphocyte", "monocyte"),
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a whole microscope field at twice the scale of the crops.

    Args:
        style: look of the slide, from ``slide_style``.
        rng: draws everything else.
        size: height and width in pixels.
        cells: class of each leukocyte in the field; they are laid apart.

    Returns:
        The image (height, width, 3), RGB uint8, and its labels, uint8.

    Raises:
        ValueError: if a class is unknown or the leukocytes find no room.

    Example:
        >>> from leuko_mm.datasets.converters.synthetic import slide_style
        >>> rng = np.random.default_rng(0)
        >>> style = slide_style(0, 1)
        >>> image, labels = render_field(style, rng, size=(400, 500), cells=["eosi"])
        >>> image.shape, np.unique(labels).tolist()
        ((400, 500, 3), [0, 2])
    """
    canvas = Canvas(*size, FIELD_PX_PER_UM)
    placed: list[tuple[Leukocyte, float, float, int]] = []
    for label in (class_id(name) for name in cells):
        cell = draw_leukocyte(CLASS_NAMES[label], rng, scale=canvas.scale)
        placed.append((cell, *_free_place(canvas, placed, cell.radius, rng), label))
    _draw_scene(canvas, style, rng, placed)
    return develop(canvas.dyes, style, rng, scale=canvas.scale), canvas.labels


def _free_place(
    canvas: Canvas,
    placed: list[tuple[Leukocyte, float, float, int]],
    radius: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Find a place in um inside the field and apart from the leukocytes there are."""
    width, height = canvas.width / canvas.scale, canvas.height / canvas.scale
    border = 1.2 * radius
    for _ in range(200):
        if min(width, height) <= 2 * border:
            break
        x = rng.uniform(border, width - border)
        y = rng.uniform(border, height - border)
        if all(
            np.hypot(x - a, y - b) > 1.3 * (radius + other.radius)
            for other, a, b, _ in placed
        ):
            return float(x), float(y)
    raise ValueError(
        f"a field of {canvas.width}x{canvas.height} pixels has no room for leukocyte "
        f"number {len(placed) + 1}; ask for fewer cells or a larger size"
    )


def _position(radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Near the middle of the crop, or now and then cut by its border."""
    middle = CROP_UM / 2 + np.clip(rng.normal(0.0, 1.3, 2), -3.5, 3.5)
    if rng.random() < _CUT_CHANCE:
        outside = radius * rng.uniform(0.1, 0.7)
        axis, far = rng.integers(0, 2), rng.integers(0, 2)
        middle[axis] = (CROP_UM - radius + outside) if far else radius - outside
    return float(middle[0]), float(middle[1])


def _draw_scene(
    canvas: Canvas,
    style: SlideStyle,
    rng: np.random.Generator,
    cells: list[tuple[Leukocyte, float, float, int]],
) -> None:
    """Compose background, leukocytes (x, y in um, label) and what touches them."""
    side = max(canvas.height, canvas.width)
    plasma = np.clip(smooth_noise(rng, side, canvas.scale, 4.0) * 0.5 + 1.0, 0, 2)
    plasma = plasma[: canvas.height, : canvas.width] * style.mottle
    canvas.dyes[..., EOSIN] += plasma
    canvas.dyes[..., CHROMATIN] += 0.3 * plasma
    keep_out = [(x, y, cell.radius) for cell, x, y, _ in cells]
    neighbours = [
        (*_beside(x, y, r, rng), on_top)
        for x, y, r in keep_out
        for on_top in (rng.random(rng.poisson(5 * style.crowding)) < _OVERLAP_CHANCE)
    ]
    taken = keep_out + [(x, y, r) for x, y, r, _ in neighbours]
    under = place_red_cells(canvas, style, rng, taken)
    for x, y, r in under + [(x, y, r) for x, y, r, top in neighbours if not top]:
        canvas.overlay(stamp_red_cell(style, rng, radius=r, scale=canvas.scale), x, y)
    for cell, x, y, label in cells:
        canvas.cover(cell.stamp, x, y, label)
    for x, y, r, top in neighbours:
        if top:
            red = stamp_red_cell(style, rng, radius=r, scale=canvas.scale)
            canvas.cover(red, x, y, 0)
    scatter_small_things(canvas, style, rng)


def _beside(
    x: float, y: float, radius: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """A red cell that touches a leukocyte: x, y and radius in um."""
    angle, red = rng.uniform(0, 2 * np.pi), rng.uniform(3.1, 4.1)
    away = radius + red * rng.uniform(0.72, 1.05)
    return x + away * np.cos(angle), y + away * np.sin(angle), red
