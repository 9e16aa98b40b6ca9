"""What surrounds the leukocytes of a synthetic smear: red cells, platelets, deposit."""

from __future__ import annotations

import numpy as np

from leuko_mm.datasets.converters.synthetic_canvas import (
    Canvas,
    Stamp,
    fill_discs,
    fill_outline,
    smooth_noise,
    warp,
)
from leuko_mm.datasets.converters.synthetic_stain import (
    AZURE,
    CHROMATIN,
    EOSIN,
    HAEMOGLOBIN,
    SlideStyle,
)

_RED_CELL_UM = 3.6  # radius
_TOUCH = 0.92  # share of the summed radii that cells lying apart keep between them


def stamp_red_cell(
    style: SlideStyle, rng: np.random.Generator, *, radius: float, scale: float
) -> Stamp:
    """Draw one red cell: a slightly bent biconcave disc.

    Args:
        style: the slide's style (depth of the pale centre).
        rng: draws the cell's own shape.
        radius: um.
        scale: pixels per um.
    """
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


def place_red_cells(
    canvas: Canvas,
    style: SlideStyle,
    rng: np.random.Generator,
    keep_out: list[tuple[float, float, float]],
) -> list[tuple[float, float, float]]:
    """Choose where red cells lie.

    Args:
        canvas: gives the extent of the scene.
        style: gives crowding and clumping.
        rng: source of randomness.
        keep_out: x, y and radius in um of the leukocytes.

    Returns:
        x, y and radius in um of each red cell.
    """
    width, height = canvas.width / canvas.scale, canvas.height / canvas.scale
    margin = 2.5
    area = (width + 2 * margin) * (height + 2 * margin)
    wanted = style.crowding * area / (np.pi * _RED_CELL_UM**2)
    count = max(int(rng.normal(wanted, 0.12 * wanted)), 2)
    tries = 8 * count
    xs = rng.uniform(-margin, width + margin, tries).tolist()
    ys = rng.uniform(-margin, height + margin, tries).tolist()
    radii = np.clip(rng.normal(_RED_CELL_UM, 0.28, tries), 2.7, 4.5).tolist()
    gaps = np.where(
        rng.random(tries) < style.clumping, rng.uniform(0.5, 0.9, tries), _TOUCH
    ).tolist()
    chosen: list[tuple[float, float, float]] = []
    for x, y, radius, gap in zip(xs, ys, radii, gaps, strict=True):
        if len(chosen) == count:
            break
        free = all(
            (x - a) ** 2 + (y - b) ** 2 > (gap * (radius + c)) ** 2
            for a, b, c in chosen
        )
        if free and all(
            (x - a) ** 2 + (y - b) ** 2 > (c + 0.8 * radius) ** 2
            for a, b, c in keep_out
        ):
            chosen.append((x, y, radius))
    return chosen


def stamp_platelet(rng: np.random.Generator, *, scale: float) -> Stamp:
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


def stamp_deposit(rng: np.random.Generator, *, scale: float) -> Stamp:
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


def stamp_smudge(rng: np.random.Generator, *, scale: float) -> Stamp:
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


def scatter_small_things(
    canvas: Canvas, style: SlideStyle, rng: np.random.Generator
) -> None:
    """Add platelets, stain deposit and smudges in proportion to the scene's area."""
    width, height = canvas.width / canvas.scale, canvas.height / canvas.scale
    views = width * height / 1264.0  # of 35.6 um square
    for stamp, rate in (
        (stamp_platelet, 1.6),
        (stamp_deposit, 2.0),
        (stamp_smudge, 0.25),
    ):
        for _ in range(int(rng.poisson(rate * style.dirt * views))):
            drawn = stamp(rng, scale=canvas.scale)
            canvas.add(drawn, rng.uniform(0, width), rng.uniform(0, height))
