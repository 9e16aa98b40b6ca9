"""The five leukocytes of a synthetic smear: outline, cytoplasm, nucleus, granules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .synthetic_canvas import Stamp, fill_discs, fill_outline, smooth_noise, warp
from .synthetic_nuclei import Nucleus, nucleus
from .synthetic_stain import AZURE, CHROMATIN, EOSIN


@dataclass(frozen=True)
class Anatomy:
    """What the cells of one class have in common.

    Args:
        radius: smallest and largest radius of the cell, um.
        bumps: unevenness of the outline, relative to the radius.
        corners: chance of an outline drawn out into a corner.
        chromatin: amount of stain in the nucleus.
        clumps: contrast of the chromatin's texture, 0-1.
        clump_um: grain of that texture, um.
    """

    radius: tuple[float, float]
    bumps: float
    corners: float
    chromatin: float
    clumps: float
    clump_um: float


ANATOMY = {
    "basophil": Anatomy((7.0, 8.4), 0.045, 0.15, 0.75, 0.15, 1.0),
    "eosinophil": Anatomy((7.4, 9.2), 0.035, 0.10, 1.05, 0.22, 1.1),
    "lymphocyte": Anatomy((5.6, 7.4), 0.050, 0.30, 1.30, 0.16, 1.3),
    "monocyte": Anatomy((8.6, 10.6), 0.055, 0.25, 0.95, 0.30, 0.9),
    "neutrophil": Anatomy((7.2, 8.9), 0.040, 0.15, 1.35, 0.20, 1.0),
}


@dataclass(frozen=True)
class Leukocyte:
    """A leukocyte ready to be put on a canvas.

    Args:
        stamp: its drawing.
        radius: mean radius, um.
        nucleus: shape that was drawn.
    """

    stamp: Stamp
    radius: float
    nucleus: Nucleus


@dataclass(frozen=True)
class _Sheets:
    """What the painters of one cell share; every array is (side, side) float32."""

    rng: np.random.Generator
    scale: float
    radius: float
    body: np.ndarray  # coverage of the cell
    inner: np.ndarray  # distance to the outline, um
    core: np.ndarray  # coverage of the nucleus
    dyes: np.ndarray  # (side, side, 4), painted in place

    def noise(self, grain: float) -> np.ndarray:
        return smooth_noise(self.rng, self.body.shape[0], self.scale, grain)


def draw_leukocyte(
    class_name: str, rng: np.random.Generator, *, scale: float
) -> Leukocyte:
    """Draw one leukocyte.

    Args:
        class_name: canonical name of a leukocyte class.
        rng: draws everything individual about the cell.
        scale: pixels per um.

    Raises:
        ValueError: if no leukocyte goes by that name.
    """
    if class_name not in ANATOMY:
        raise ValueError(
            f"no leukocyte named {class_name!r} to draw; expected one of "
            f"{', '.join(ANATOMY)}"
        )
    anatomy = ANATOMY[class_name]
    radius = rng.uniform(*anatomy.radius)
    side = int(np.ceil(2.9 * radius * scale)) + 2
    body = fill_outline(_outline(anatomy, radius, rng), side, scale)
    inside = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inner = inside / np.float32(scale)
    shape = nucleus(class_name, radius, rng)
    core = _nucleus_sheet(shape, side, scale, rng) * np.clip(inner / 0.5 - 0.4, 0, 1)
    dyes = np.zeros((side, side, 4), np.float32)
    sheets = _Sheets(rng, scale, radius, body, inner, core, dyes)
    _PAINTERS[class_name](sheets, anatomy)
    dyes *= body[..., None]
    return Leukocyte(Stamp(dyes, body), radius, shape)


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
    shape: Nucleus, side: int, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Rasterise lobes and filaments and bend them into grown shapes."""
    spines = [_dense(lobe) for lobe in shape.lobes] + list(shape.filaments)
    sheet = fill_discs(np.vstack(spines), side, scale)
    return warp(warp(sheet, rng, scale, 0.16, 0.9), rng, scale, 0.3, 2.5)


def _dense(spine: np.ndarray) -> np.ndarray:
    """Put two more discs between the discs of a spine, so that its edge is smooth."""
    steps = np.linspace(0, len(spine) - 1, 3 * len(spine) - 2)
    return np.column_stack(
        [np.interp(steps, np.arange(len(spine)), column) for column in spine.T]
    )


def _paint_nucleus(s: _Sheets, anatomy: Anatomy) -> None:
    """Lay chromatin where the nucleus is; it hides the cytoplasm there."""
    clumps = 1.0 + anatomy.clumps * (
        0.7 * s.noise(anatomy.clump_um) + 0.5 * s.noise(0.45)
    )
    amount = anatomy.chromatin * s.rng.uniform(0.85, 1.15)
    s.dyes[:] *= (1.0 - 0.85 * s.core)[..., None]
    s.dyes[..., CHROMATIN] += s.core * amount * np.clip(clumps, 0.45, 1.7)


def _paint_cytoplasm(s: _Sheets, azure: float, eosin: float, rim: float) -> None:
    """Lay an even, cloudy cytoplasm that may be darker along the outline."""
    clouds = 1.0 + 0.14 * s.noise(1.6) + 0.10 * s.noise(0.5)
    edge = 1.0 + rim * np.exp(-s.inner / 0.7)
    amount = clouds * edge * s.rng.uniform(0.8, 1.2)
    s.dyes[..., AZURE] += azure * amount
    s.dyes[..., EOSIN] += eosin * amount


def _grain_grid(s: _Sheets, spacing: float, jitter: float) -> np.ndarray:
    """Jittered grid of points (N, 2) in um over the cell's disc."""
    ticks = np.arange(-1.35 * s.radius, 1.35 * s.radius, spacing)
    x, y = np.meshgrid(ticks, ticks)
    points = np.column_stack([x.ravel(), y.ravel()])
    return points + s.rng.uniform(-jitter, jitter, points.shape) * spacing


def _at(sheet: np.ndarray, points: np.ndarray, scale: float) -> np.ndarray:
    """Values of a sheet at points in um."""
    side = sheet.shape[0]
    index = np.rint(points * scale + (side - 1) / 2).astype(int).clip(0, side - 1)
    return sheet[index[:, 1], index[:, 0]]


def _vacuoles(s: _Sheets, count: int, size: tuple[float, float]) -> None:
    """Clear round holes in the cytoplasm."""
    if count == 0:
        return
    points = s.rng.uniform(-s.radius, s.radius, (12 * count, 2))
    free = (_at(s.inner, points, s.scale) > 0.8) & (_at(s.core, points, s.scale) < 0.3)
    points = points[free][:count]
    if len(points) == 0:
        return
    discs = np.column_stack([points, s.rng.uniform(*size, len(points))])
    holes = fill_discs(discs, s.body.shape[0], s.scale)
    s.dyes[:] *= (1.0 - 0.85 * holes)[..., None]


def _neutrophil(s: _Sheets, anatomy: Anatomy) -> None:
    """Pale pink cytoplasm dusted with fine granules, dark segmented nucleus."""
    _paint_cytoplasm(s, azure=0.16, eosin=0.26, rim=0.15)
    dust = np.clip(s.noise(0.33) - 0.4, 0, 2)
    s.dyes[..., CHROMATIN] += s.rng.uniform(0.10, 0.2) * dust
    s.dyes[..., EOSIN] += 0.10 * dust
    _paint_nucleus(s, anatomy)


def _eosinophil(s: _Sheets, anatomy: Anatomy) -> None:
    """Cytoplasm packed with coarse orange-red granules around a two-lobed nucleus."""
    _paint_cytoplasm(s, azure=0.10, eosin=0.25, rim=0.1)
    _paint_nucleus(s, anatomy)
    points = _grain_grid(s, spacing=0.86, jitter=0.38)
    room = _at(s.inner, points, s.scale) > 0.35
    over_nucleus = _at(s.core, points, s.scale) > 0.5
    keep = room & (~over_nucleus | (s.rng.random(len(points)) < 0.06))
    points = points[keep]
    discs = np.column_stack([points, s.rng.uniform(0.33, 0.52, len(points))])
    order = s.rng.permutation(len(discs))
    values = s.rng.uniform(0.55, 1.0, len(discs))
    grains = fill_discs(discs[order], s.body.shape[0], s.scale, values)
    s.dyes[..., EOSIN] += grains * 1.25 * s.rng.uniform(0.85, 1.2)
    s.dyes[..., CHROMATIN] += grains * 0.10


def _basophil(s: _Sheets, anatomy: Anatomy) -> None:
    """Coarse dark granules all over the cell, the nucleus half hidden under them."""
    _paint_cytoplasm(s, azure=0.22, eosin=0.22, rim=0.2)
    _paint_nucleus(s, anatomy)
    points = _grain_grid(s, spacing=1.25, jitter=0.42)
    inner, core = _at(s.inner, points, s.scale), _at(s.core, points, s.scale)
    chance = np.where(core > 0.5, 0.5, 0.85) * s.rng.uniform(0.8, 1.1)
    points = points[(inner > 0.3) & (s.rng.random(len(points)) < chance)]
    discs = np.column_stack([points, s.rng.uniform(0.38, 0.72, len(points))])
    washed = s.rng.random(len(discs)) < 0.10
    grains = fill_discs(
        discs[~washed], s.body.shape[0], s.scale, s.rng.uniform(0.7, 1, (~washed).sum())
    )
    s.dyes[..., CHROMATIN] += grains * 1.15
    s.dyes[..., AZURE] += grains * 0.5
    holes = fill_discs(discs[washed], s.body.shape[0], s.scale)
    s.dyes[:] *= (1.0 - 0.75 * holes)[..., None]


def _lymphocyte(s: _Sheets, anatomy: Anatomy) -> None:
    """A thin clear blue rim around a dense round nucleus."""
    _paint_cytoplasm(s, azure=0.52, eosin=0.02, rim=0.45)
    halo = cv2.GaussianBlur(s.core, (0, 0), 0.7 * s.scale)
    s.dyes[..., AZURE] *= 1.0 - 0.35 * halo  # the pale zone beside the nucleus
    _paint_nucleus(s, anatomy)


def _monocyte(s: _Sheets, anatomy: Anatomy) -> None:
    """Wide grey-blue, ground-glass cytoplasm with vacuoles and a folded nucleus."""
    _paint_cytoplasm(s, azure=0.50, eosin=0.20, rim=0.2)
    s.dyes[..., CHROMATIN] += 0.07 * np.clip(s.noise(0.4) + 0.4, 0, 2)
    _paint_nucleus(s, anatomy)
    _vacuoles(s, int(s.rng.poisson(4.0)), (0.3, 0.75))


_PAINTERS: dict[str, Callable[[_Sheets, Anatomy], None]] = {
    "basophil": _basophil,
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
