"""A scene of a synthetic smear: a crop around one leukocyte."""

from __future__ import annotations

import numpy as np

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.converters.synthetic.cells import draw_leukocyte
from leuko_mm.datasets.converters.synthetic.stain import (
    AZURE,
    CHROMATIN,
    EOSIN,
    HAEMOGLOBIN,
    Canvas,
    SlideStyle,
    Stamp,
    develop,
    fill_discs,
    fill_outline,
    smooth_noise,
    warp,
)

Circle = tuple[float, float, float]  # x, y and radius in um

CROP_UM = 35.6  # width of the field that a crop shows, whatever its pixels
_CUT_CHANCE = 0.06  # cells that the border of their crop cuts
_OVERLAP_CHANCE = 0.35  # neighbours that lie on the leukocyte rather than beside it
_RED_CELL_UM = 3.6  # radius
_MARGIN_UM = 2.5  # red cells are placed this far beyond the crop's border
_TOUCH = 0.92  # share of the summed radii that cells lying apart keep between them


def render_cell(
    class_name: str, style: SlideStyle, rng: np.random.Generator, *, size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one crop of a smear with a leukocyte near its middle.

    The field shown does not depend on the size in pixels.

    Shape:
        RGB (size, size, 3), and labels (size, size): 0 and the class's id; uint8.

    Raises:
        ValueError: if the class is unknown or the size below 32.
    """
    if size < 32:
        raise ValueError(f"size is {size} pixels; a cell needs at least 32 to show")
    label = class_id(class_name)
    canvas = Canvas(size, size / CROP_UM)
    cell = draw_leukocyte(CLASS_NAMES[label], rng, scale=canvas.scale)
    x, y = _position(cell.radius, rng)
    _draw_background(canvas, style, rng)
    beside, on_top = _neighbours((x, y, cell.radius), style, rng)
    taken = [(x, y, cell.radius), *beside, *on_top]
    for a, b, radius in _place_red_cells(style, rng, taken) + beside:
        canvas.overlay(_red_cell(style, rng, radius, canvas.scale), a, b)
    canvas.cover(cell.stamp, x, y, label)
    for a, b, radius in on_top:
        canvas.cover(_red_cell(style, rng, radius, canvas.scale), a, b, 0)
    _scatter_small_things(canvas, style, rng)
    return develop(canvas.dyes, style, rng, scale=canvas.scale), canvas.labels


def _position(radius: float, rng: np.random.Generator) -> tuple[float, float]:
    """Near the middle of the crop, or now and then cut by its border."""
    middle = CROP_UM / 2 + np.clip(rng.normal(0.0, 1.3, 2), -3.5, 3.5)
    if rng.random() < _CUT_CHANCE:
        outside = radius * rng.uniform(0.1, 0.7)
        axis, far = rng.integers(0, 2), rng.integers(0, 2)
        middle[axis] = (CROP_UM - radius + outside) if far else radius - outside
    return float(middle[0]), float(middle[1])


def _draw_background(
    canvas: Canvas, style: SlideStyle, rng: np.random.Generator
) -> None:
    plasma = smooth_noise(rng, canvas.size, canvas.scale, 4.0)
    plasma = np.clip(plasma * 0.5 + 1.0, 0, 2) * style.mottle
    canvas.dyes[..., EOSIN] += plasma
    canvas.dyes[..., CHROMATIN] += 0.3 * plasma


def _neighbours(
    leukocyte: Circle, style: SlideStyle, rng: np.random.Generator
) -> tuple[list[Circle], list[Circle]]:
    """Choose the red cells that touch a leukocyte: those beside it, and those on it."""
    x, y, radius = leukocyte
    beside: list[Circle] = []
    on_top: list[Circle] = []
    for overlaps in rng.random(rng.poisson(5 * style.crowding)) < _OVERLAP_CHANCE:
        angle, red = rng.uniform(0, 2 * np.pi), rng.uniform(3.1, 4.1)
        away = radius + red * rng.uniform(0.72, 1.05)
        place = x + away * np.cos(angle), y + away * np.sin(angle), red
        (on_top if overlaps else beside).append(place)
    return beside, on_top


def _place_red_cells(
    style: SlideStyle, rng: np.random.Generator, taken: list[Circle]
) -> list[Circle]:
    """Choose where the other red cells lie, clear of what is taken."""
    extent = CROP_UM + 2 * _MARGIN_UM
    wanted = style.crowding * extent**2 / (np.pi * _RED_CELL_UM**2)
    count = max(int(rng.normal(wanted, 0.12 * wanted)), 2)
    tries = 8 * count
    xs = rng.uniform(-_MARGIN_UM, CROP_UM + _MARGIN_UM, tries).tolist()
    ys = rng.uniform(-_MARGIN_UM, CROP_UM + _MARGIN_UM, tries).tolist()
    radii = np.clip(rng.normal(_RED_CELL_UM, 0.28, tries), 2.7, 4.5).tolist()
    gaps = np.where(
        rng.random(tries) < style.clumping, rng.uniform(0.5, 0.9, tries), _TOUCH
    ).tolist()
    chosen: list[Circle] = []
    for x, y, radius, gap in zip(xs, ys, radii, gaps, strict=True):
        if len(chosen) == count:
            break
        free = all(
            (x - a) ** 2 + (y - b) ** 2 > (gap * (radius + c)) ** 2
            for a, b, c in chosen
        )
        if free and all(
            (x - a) ** 2 + (y - b) ** 2 > (c + 0.8 * radius) ** 2 for a, b, c in taken
        ):
            chosen.append((x, y, radius))
    return chosen


def _red_cell(
    style: SlideStyle, rng: np.random.Generator, radius: float, scale: float
) -> Stamp:
    """Draw one red cell: a slightly bent biconcave disc."""
    side = int(np.ceil(2 * radius * 1.35 * scale)) + 2
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / np.float32(
        radius * scale
    )
    turn, squeeze = rng.uniform(0, np.pi), rng.normal(0, 0.07)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x = (axis * cos + axis[:, None] * sin) * np.float32(1 + squeeze)
    y = (axis[:, None] * cos - axis * sin) * np.float32(1 - squeeze)
    rho = np.sqrt(x * x + y * y)
    dent, bend = rng.normal(0, 0.035), rng.normal(0, 0.06)
    reach = 1.0 + dent * x * (x * x - 3 * y * y) + bend * x * y
    rho = rho / np.clip(reach, 0.8, 1.25).astype(np.float32)

    edge = np.clip((1.0 - rho) * np.float32(radius * scale) + 0.5, 0.0, 1.0)
    pale = float(np.clip(rng.normal(style.pallor, 0.25), 0.0, 0.95))
    width = rng.uniform(0.28, 0.55)
    steep = rng.uniform(0.03, 0.16)  # a sharp centre is a refractive ring
    fall = np.clip((rho - np.float32(width)) / np.float32(steep), -20, 20)
    centre = pale / (1.0 + np.exp(fall))
    rim = 0.35 * np.exp(-(((rho - 0.92) / 0.08) ** 2))
    thick = 0.75 + 0.3 * np.clip(1.0 - (rho - 0.6) ** 2 / 0.36, 0.0, 1.0)
    amount = edge * (thick + rim) * (1.0 - centre) * rng.uniform(0.8, 1.2)
    dyes = np.zeros((side, side, 4), np.float32)
    dyes[..., HAEMOGLOBIN] = amount
    return Stamp(dyes, edge.astype(np.float32))


def _platelet(rng: np.random.Generator, scale: float) -> Stamp:
    """Draw a platelet: a small pale blue body with a purple granular middle."""
    radius = rng.uniform(0.8, 1.7)
    side = int(np.ceil(4 * radius * scale)) + 2
    spread = rng.normal(0, 0.35 * radius, (5, 2))
    discs = np.column_stack([spread, rng.uniform(0.4, 0.8, 5) * radius])
    body = warp(fill_discs(discs, side, scale), rng, scale, 0.12, 0.8)
    discs[:, 2] *= rng.uniform(0.45, 0.8)
    middle = warp(fill_discs(discs, side, scale), rng, scale, 0.15, 0.6)
    grains = np.clip(0.8 + 0.3 * smooth_noise(rng, side, scale, 0.4), 0.2, 1.5)
    dyes = np.zeros((side, side, 4), np.float32)
    dyes[..., AZURE] = 0.35 * body
    dyes[..., CHROMATIN] = middle * grains * rng.uniform(0.4, 1.3)
    return Stamp(dyes, body)


def _deposit(rng: np.random.Generator, scale: float) -> Stamp:
    """Draw a crumb of precipitated stain: small, dark, sharp."""
    count = int(rng.integers(1, 5))
    radius = rng.uniform(0.15, 0.45)
    side = int(np.ceil(8 * radius * scale)) + 4
    discs = np.column_stack(
        [rng.normal(0, radius, (count, 2)), rng.uniform(0.5, 1.0, count) * radius]
    )
    body = fill_discs(discs, side, scale)
    dyes = np.zeros((side, side, 4), np.float32)
    dyes[..., CHROMATIN] = body * rng.uniform(0.6, 1.4)
    dyes[..., EOSIN] = body * rng.uniform(0.0, 0.5)
    return Stamp(dyes, body)


def _smudge(rng: np.random.Generator, scale: float) -> Stamp:
    """Draw a pale smear of a burst cell or of protein."""
    radius = rng.uniform(1.5, 3.5)
    side = int(np.ceil(3.2 * radius * scale)) + 2
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = radius * rng.uniform(0.6, 1.2, 24)
    outline = reach[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    body = warp(fill_outline(outline, side, scale), rng, scale, 0.5, 1.2)
    streaks = np.clip(0.5 + 0.4 * smooth_noise(rng, side, scale, 0.9), 0.0, 1.2)
    dyes = np.zeros((side, side, 4), np.float32)
    dyes[..., CHROMATIN] = body * streaks * rng.uniform(0.08, 0.3)
    dyes[..., EOSIN] = body * streaks * rng.uniform(0.0, 0.2)
    return Stamp(dyes, body)


# How many an ordinary slide shows in a crop.
_SMALL_THINGS = ((_platelet, 1.6), (_deposit, 2.0), (_smudge, 0.25))


def _scatter_small_things(
    canvas: Canvas, style: SlideStyle, rng: np.random.Generator
) -> None:
    for draw, rate in _SMALL_THINGS:
        for _ in range(int(rng.poisson(rate * style.dirt * CROP_UM**2 / 1264.0))):
            stamp = draw(rng, canvas.scale)
            canvas.add(stamp, rng.uniform(0, CROP_UM), rng.uniform(0, CROP_UM))
