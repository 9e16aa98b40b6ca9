"""The five leukocytes of a synthetic smear: nucleus, cytoplasm and granules.

A spine is an (N, 3) array of x, y and radius in um from the cell's centre. One
spine is one lobe; filaments are thin spines between lobes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from leuko_mm.datasets.converters.synthetic.stain import (
    AZURE,
    CHROMATIN,
    EOSIN,
    Stamp,
    fill_discs,
    fill_outline,
    smooth_noise,
    warp,
)


@dataclass(frozen=True)
class Nucleus:
    """Shape of a nucleus: one spine a lobe, thin spines that join neighbours."""

    lobes: tuple[np.ndarray, ...]
    filaments: tuple[np.ndarray, ...] = ()


def _turned(spines: list[np.ndarray], angle: float) -> tuple[np.ndarray, ...]:
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return tuple(spine @ turn for spine in spines)


def _rod(
    middle: np.ndarray, half: float, angle: float, radius: float, bend: float
) -> np.ndarray:
    t = np.linspace(-1.0, 1.0, 7)
    along, across = half * t, bend * half * (t**2 - 0.4)
    cos, sin = np.cos(angle), np.sin(angle)
    x = middle[0] + along * cos - across * sin
    y = middle[1] + along * sin + across * cos
    return np.column_stack([x, y, radius * (1.0 - 0.12 * t**2)])


def _thread(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """A filament between two points, thinnest in the middle."""
    t = np.linspace(0.0, 1.0, 25)[:, None]
    thin = radius * (1.0 + 0.8 * np.abs(2 * t - 1) ** 2)
    return np.hstack([start + (end - start) * t, thin])


def _segmented(
    radius: float, rng: np.random.Generator, count: int, share: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lobes along an open arc with filaments between neighbours.

    ``share`` is the part of the cell's disc that the lobes fill together.
    """
    span = {2: 2.4, 3: 3.7, 4: 4.2, 5: 4.6}[count] * rng.uniform(0.9, 1.05)
    angles = np.linspace(-span / 2, span / 2, count)
    angles += rng.normal(0, 0.08, count)
    away = radius * (0.44 + 0.02 * count) * rng.uniform(0.92, 1.08, count)
    middles = away[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    size = radius * np.sqrt(share / count)
    lobes = []
    for middle, angle in zip(middles, angles, strict=True):
        lobe = size * rng.uniform(0.82, 1.12)
        stretch = rng.uniform(0.25, 0.75)  # half length of the spine in radii
        thick = lobe / np.sqrt(1 + 4 * stretch / np.pi)
        lean = angle + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.35)
        lobes.append(_rod(middle, stretch * thick, lean, thick, rng.uniform(-0.5, 0.5)))
    threads = [_thread(a, b, rng.uniform(0.16, 0.3)) for a, b in pairwise(middles)]
    return lobes, threads


def _neutrophil_nucleus(radius: float, rng: np.random.Generator) -> Nucleus:
    count = int(rng.choice([2, 3, 4, 5], p=[0.12, 0.42, 0.34, 0.12]))
    lobes, threads = _segmented(radius, rng, count, share=rng.uniform(0.30, 0.37))
    turn = rng.uniform(0, 2 * np.pi)
    return Nucleus(_turned(lobes, turn), _turned(threads, turn))


def _eosinophil_nucleus(radius: float, rng: np.random.Generator) -> Nucleus:
    count = int(rng.choice([2, 3], p=[0.88, 0.12]))
    share = rng.uniform(0.30, 0.38)
    lobes, threads = _segmented(radius, rng, count, share=share)
    for thread in threads:
        thread[:, 2] *= 1.8
    shift = np.array([rng.uniform(-0.18, 0.0) * radius, 0.0, 0.0])
    turn = rng.uniform(0, 2 * np.pi)
    return Nucleus(
        _turned([lobe + shift for lobe in lobes], turn),
        _turned([thread + shift for thread in threads], turn),
    )


def _basophil_nucleus(radius: float, rng: np.random.Generator) -> Nucleus:
    bend, half = rng.uniform(0.3, 1.2), radius * rng.uniform(0.3, 0.5)
    spine = _rod(np.zeros(2), half, 0.0, radius * rng.uniform(0.42, 0.55), bend)
    spine[:, 2] *= rng.uniform(0.85, 1.15, len(spine))
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


def _lymphocyte_nucleus(radius: float, rng: np.random.Generator) -> Nucleus:
    filled = rng.uniform(0.70, 0.86)
    half = radius * rng.uniform(0.05, 0.22)
    thick = radius * filled - 0.5 * half
    away = (1.0 - filled) * radius * rng.uniform(0.2, 0.75)
    spine = _rod(np.array([away, 0.0]), half, np.pi / 2, thick, rng.uniform(0, 0.6))
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


def _monocyte_nucleus(radius: float, rng: np.random.Generator) -> Nucleus:
    """A kidney or a horseshoe: a thick arc, off the middle of the cell."""
    span = rng.uniform(2.3, 4.2)
    bow = radius * rng.uniform(0.40, 0.48)
    angles = np.linspace(-span / 2, span / 2, 15)
    swell = 1.0 + 0.13 * np.sin(rng.uniform(0, 6.3) + 2.4 * angles)
    thick = radius * rng.uniform(0.25, 0.31) * (1.22 - 0.11 * span) * swell
    spine = np.column_stack([bow * np.cos(angles), bow * np.sin(angles), thick * 1.12])
    spine[:, 0] -= bow * rng.uniform(0.1, 0.35)
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


@dataclass(frozen=True)
class Chromatin:
    """How the nucleus of a class takes the stain."""

    amount: float  # of chromatin stain
    clumps: float  # contrast of its texture, 0-1
    grain: float  # distance over which the texture changes, um


@dataclass(frozen=True)
class CellSheets:
    """What painting one cell needs; ``dyes`` is painted in place."""

    rng: np.random.Generator
    scale: float  # pixels per um
    chromatin: Chromatin
    radius: float  # mean radius of the cell, um
    body: np.ndarray  # (side, side) coverage of the cell, 0-1
    inner: np.ndarray  # (side, side) distance to the outline, um
    core: np.ndarray  # (side, side) coverage of the nucleus, 0-1
    dyes: np.ndarray  # (side, side, 4) amounts of dye

    def noise(self, grain: float) -> np.ndarray:
        """Return a texture over the cell that changes over ``grain`` um."""
        return smooth_noise(self.rng, len(self.body), self.scale, grain)

    def discs(
        self, points: np.ndarray, radii: np.ndarray, values: np.ndarray | None = None
    ) -> np.ndarray:
        """Return a sheet of discs at points in um."""
        discs = np.column_stack([points, radii])
        return fill_discs(discs, len(self.body), self.scale, values)

    def at(self, sheet: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the values of a sheet at points in um."""
        side = len(sheet)
        index = np.rint(points * self.scale + (side - 1) / 2).astype(int)
        index = index.clip(0, side - 1)
        return sheet[index[:, 1], index[:, 0]]

    def grid(self, spacing: float, jitter: float) -> np.ndarray:
        """Return a jittered grid of points (N, 2) in um over the cell's disc."""
        ticks = np.arange(-1.35 * self.radius, 1.35 * self.radius, spacing)
        x, y = np.meshgrid(ticks, ticks)
        points = np.column_stack([x.ravel(), y.ravel()])
        return points + self.rng.uniform(-jitter, jitter, points.shape) * spacing


def _paint_nucleus(s: CellSheets) -> None:
    """Lay chromatin where the nucleus is; it hides the cytoplasm there."""
    texture = 0.7 * s.noise(s.chromatin.grain) + 0.5 * s.noise(0.45)
    clumps = 1.0 + s.chromatin.clumps * texture
    amount = s.chromatin.amount * s.rng.uniform(0.85, 1.15)
    s.dyes[:] *= (1.0 - 0.85 * s.core)[..., None]
    s.dyes[..., CHROMATIN] += s.core * amount * np.clip(clumps, 0.45, 1.7)


def _paint_cytoplasm(s: CellSheets, azure: float, eosin: float, rim: float) -> None:
    """Lay an even, cloudy cytoplasm that may be darker along the outline."""
    clouds = 1.0 + 0.14 * s.noise(1.6) + 0.10 * s.noise(0.5)
    edge = 1.0 + rim * np.exp(-s.inner / 0.7)
    amount = clouds * edge * s.rng.uniform(0.8, 1.2)
    s.dyes[..., AZURE] += azure * amount
    s.dyes[..., EOSIN] += eosin * amount


def _paint_vacuoles(s: CellSheets, count: int, size: tuple[float, float]) -> None:
    """Leave clear round holes in the cytoplasm."""
    if count == 0:
        return
    points = s.rng.uniform(-s.radius, s.radius, (12 * count, 2))
    free = (s.at(s.inner, points) > 0.8) & (s.at(s.core, points) < 0.3)
    points = points[free][:count]
    if len(points):
        holes = s.discs(points, s.rng.uniform(*size, len(points)))
        s.dyes[:] *= (1.0 - 0.85 * holes)[..., None]


def _paint_neutrophil(s: CellSheets) -> None:
    """Pale pink cytoplasm dusted with fine granules, dark segmented nucleus."""
    _paint_cytoplasm(s, azure=0.16, eosin=0.26, rim=0.15)
    dust = np.clip(s.noise(0.33) - 0.4, 0, 2)
    s.dyes[..., CHROMATIN] += s.rng.uniform(0.08, 0.16) * dust
    s.dyes[..., EOSIN] += 0.10 * dust
    _paint_nucleus(s)


def _paint_eosinophil(s: CellSheets) -> None:
    """Cytoplasm packed with coarse orange-red granules around a two-lobed nucleus."""
    _paint_cytoplasm(s, azure=0.10, eosin=0.20, rim=0.1)
    _paint_nucleus(s)
    points = s.grid(spacing=0.82, jitter=0.36)
    room = s.at(s.inner, points) > 0.35
    over_nucleus = s.at(s.core, points) > 0.5
    points = points[room & (~over_nucleus | (s.rng.random(len(points)) < 0.06))]
    radii = s.rng.uniform(0.30, 0.46, len(points))
    order = s.rng.permutation(len(points))
    values = s.rng.uniform(0.55, 1.0, len(points))
    grains = s.discs(points[order], radii[order], values)
    s.dyes[..., EOSIN] += grains * 1.5 * s.rng.uniform(0.85, 1.15)
    s.dyes[..., CHROMATIN] += grains * 0.10


def _paint_basophil(s: CellSheets) -> None:
    """Coarse dark granules all over the cell, the nucleus half hidden under them."""
    _paint_cytoplasm(s, azure=0.22, eosin=0.22, rim=0.2)
    _paint_nucleus(s)
    points = s.grid(spacing=s.rng.uniform(0.9, 1.15), jitter=0.42)
    inner, core = s.at(s.inner, points), s.at(s.core, points)
    chance = np.where(core > 0.5, s.rng.uniform(0.3, 0.9), 0.9)
    points = points[(inner > 0.3) & (s.rng.random(len(points)) < chance)]
    radii = s.rng.uniform(0.34, 0.64, len(points))
    washed = s.rng.random(len(points)) < 0.10
    values = s.rng.uniform(0.7, 1, (~washed).sum())
    grains = s.discs(points[~washed], radii[~washed], values)
    s.dyes[..., CHROMATIN] += grains * 1.15
    s.dyes[..., AZURE] += grains * 0.5
    holes = s.discs(points[washed], radii[washed])
    s.dyes[:] *= (1.0 - 0.75 * holes)[..., None]


def _paint_lymphocyte(s: CellSheets) -> None:
    """A thin clear blue rim around a dense round nucleus."""
    _paint_cytoplasm(s, azure=0.52, eosin=0.02, rim=0.45)
    halo = cv2.GaussianBlur(s.core, (0, 0), 0.7 * s.scale)
    s.dyes[..., AZURE] *= 1.0 - 0.35 * halo  # the pale zone beside the nucleus
    _paint_nucleus(s)


def _paint_monocyte(s: CellSheets) -> None:
    """Wide grey-blue, ground-glass cytoplasm with vacuoles and a folded nucleus."""
    _paint_cytoplasm(s, azure=0.50, eosin=0.20, rim=0.2)
    s.dyes[..., CHROMATIN] += 0.07 * np.clip(s.noise(0.4) + 0.4, 0, 2)
    _paint_nucleus(s)
    _paint_vacuoles(s, int(s.rng.poisson(4.0)), (0.3, 0.75))


@dataclass(frozen=True)
class Anatomy:
    """What the cells of one class have in common."""

    radius: tuple[float, float]  # smallest and largest, um
    bumps: float  # unevenness of the outline, relative to the radius
    corners: float  # chance of an outline drawn out into a corner
    wobble: float  # bending of the nucleus' outline, um
    chromatin: Chromatin


ANATOMY = {
    "basophil": Anatomy((7.0, 8.4), 0.050, 0.20, 0.35, Chromatin(0.90, 0.15, 1.0)),
    "eosinophil": Anatomy((7.4, 9.2), 0.045, 0.20, 0.22, Chromatin(1.05, 0.22, 1.1)),
    "lymphocyte": Anatomy((5.6, 7.6), 0.055, 0.40, 0.18, Chromatin(1.30, 0.16, 1.3)),
    "monocyte": Anatomy((8.6, 10.6), 0.065, 0.35, 0.30, Chromatin(0.95, 0.30, 0.9)),
    "neutrophil": Anatomy((7.2, 8.9), 0.050, 0.25, 0.22, Chromatin(1.35, 0.20, 1.0)),
}
# Class -> what shapes its nucleus, and what paints the cell.
_DRAWN_BY = {
    "basophil": (_basophil_nucleus, _paint_basophil),
    "eosinophil": (_eosinophil_nucleus, _paint_eosinophil),
    "lymphocyte": (_lymphocyte_nucleus, _paint_lymphocyte),
    "monocyte": (_monocyte_nucleus, _paint_monocyte),
    "neutrophil": (_neutrophil_nucleus, _paint_neutrophil),
}


@dataclass(frozen=True)
class Leukocyte:
    """A leukocyte ready to be put on a canvas."""

    stamp: Stamp
    radius: float  # mean, um
    nucleus: Nucleus
    core: np.ndarray  # (side, side) coverage of the nucleus in the stamp, 0-1


def draw_leukocyte(
    class_name: str, rng: np.random.Generator, *, scale: float
) -> Leukocyte:
    """Draw one leukocyte, ``scale`` in pixels per um.

    Raises:
        ValueError: if no leukocyte goes by that name.
    """
    if class_name not in ANATOMY:
        raise ValueError(
            f"no leukocyte named {class_name!r} to draw; expected one of "
            f"{', '.join(ANATOMY)}"
        )
    anatomy = ANATOMY[class_name]
    draw_nucleus, paint = _DRAWN_BY[class_name]
    radius = rng.uniform(*anatomy.radius)
    side = int(np.ceil(2.9 * radius * scale)) + 2
    body = fill_outline(_outline(anatomy, radius, rng), side, scale)
    inside = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inner = inside / np.float32(scale)
    shape = draw_nucleus(radius, rng)
    core = _nucleus_sheet(shape, anatomy.wobble, side, scale, rng)
    core *= np.clip(inner / 0.5 - 0.4, 0, 1)  # a membrane stays free around it
    dyes = np.zeros((side, side, 4), np.float32)
    sheets = CellSheets(rng, scale, anatomy.chromatin, radius, body, inner, core, dyes)
    paint(sheets)
    dyes *= body[..., None]
    return Leukocyte(Stamp(dyes, body), radius, shape, core)


def _outline(anatomy: Anatomy, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Closed outline (96, 2) in um: a circle with low waves and maybe a corner."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    reach = np.ones(96)
    for order in range(2, 6):
        size, phase = rng.normal(0, anatomy.bumps / order**0.5), rng.uniform(0, 6.3)
        reach += size * np.cos(order * angle + phase)
    if rng.random() < anatomy.corners:
        off = np.abs((angle - rng.uniform(0, 6.28) + np.pi) % (2 * np.pi) - np.pi)
        reach += rng.uniform(0.1, 0.3) * np.exp(-off / rng.uniform(0.2, 0.35))
    reach = radius * np.clip(reach, 0.75, 1.4)
    return reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _nucleus_sheet(
    shape: Nucleus, wobble: float, side: int, scale: float, rng: np.random.Generator
) -> np.ndarray:
    spines = [_dense(lobe) for lobe in shape.lobes] + list(shape.filaments)
    sheet = fill_discs(np.vstack(spines), side, scale)
    return warp(sheet, rng, scale, wobble, 2.2)


def _dense(spine: np.ndarray) -> np.ndarray:
    """Put two more discs between the discs of a spine, so that its edge is smooth."""
    steps = np.linspace(0, len(spine) - 1, 3 * len(spine) - 2)
    return np.column_stack(
        [np.interp(steps, np.arange(len(spine)), column) for column in spine.T]
    )
