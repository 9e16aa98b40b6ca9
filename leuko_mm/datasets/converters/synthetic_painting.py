"""How each leukocyte takes the stain: cytoplasm, nucleus, granules, vacuoles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.datasets.converters.synthetic_canvas import fill_discs, smooth_noise
from leuko_mm.datasets.converters.synthetic_stain import AZURE, CHROMATIN, EOSIN


@dataclass(frozen=True)
class Chromatin:
    """How the nucleus of a class takes the stain.

    Args:
        amount: of chromatin stain.
        clumps: contrast of its texture, 0-1.
        grain: distance over which the texture changes, um.
    """

    amount: float
    clumps: float
    grain: float


@dataclass(frozen=True)
class CellSheets:
    """What painting one cell needs; ``dyes`` is painted in place.

    Args:
        rng: source of randomness.
        scale: pixels per um.
        radius: mean radius of the cell, um.
        body: (side, side) coverage of the cell, 0-1.
        inner: (side, side) distance to the outline, um.
        core: (side, side) coverage of the nucleus, 0-1.
        dyes: (side, side, 4) amounts of dye.
    """

    rng: np.random.Generator
    scale: float
    radius: float
    body: np.ndarray
    inner: np.ndarray
    core: np.ndarray
    dyes: np.ndarray

    def noise(self, grain: float) -> np.ndarray:
        """Texture over the cell that changes over ``grain`` um."""
        return smooth_noise(self.rng, self.body.shape[0], self.scale, grain)


def _paint_nucleus(s: CellSheets, chromatin: Chromatin) -> None:
    """Lay chromatin where the nucleus is; it hides the cytoplasm there."""
    clumps = 1.0 + chromatin.clumps * (
        0.7 * s.noise(chromatin.grain) + 0.5 * s.noise(0.45)
    )
    amount = chromatin.amount * s.rng.uniform(0.85, 1.15)
    s.dyes[:] *= (1.0 - 0.85 * s.core)[..., None]
    s.dyes[..., CHROMATIN] += s.core * amount * np.clip(clumps, 0.45, 1.7)


def _paint_cytoplasm(s: CellSheets, azure: float, eosin: float, rim: float) -> None:
    """Lay an even, cloudy cytoplasm that may be darker along the outline."""
    clouds = 1.0 + 0.14 * s.noise(1.6) + 0.10 * s.noise(0.5)
    edge = 1.0 + rim * np.exp(-s.inner / 0.7)
    amount = clouds * edge * s.rng.uniform(0.8, 1.2)
    s.dyes[..., AZURE] += azure * amount
    s.dyes[..., EOSIN] += eosin * amount


def _grain_grid(s: CellSheets, spacing: float, jitter: float) -> np.ndarray:
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


def _vacuoles(s: CellSheets, count: int, size: tuple[float, float]) -> None:
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


def _neutrophil(s: CellSheets, chromatin: Chromatin) -> None:
    """Pale pink cytoplasm dusted with fine granules, dark segmented nucleus."""
    _paint_cytoplasm(s, azure=0.16, eosin=0.26, rim=0.15)
    dust = np.clip(s.noise(0.33) - 0.4, 0, 2)
    s.dyes[..., CHROMATIN] += s.rng.uniform(0.08, 0.16) * dust
    s.dyes[..., EOSIN] += 0.10 * dust
    _paint_nucleus(s, chromatin)


def _eosinophil(s: CellSheets, chromatin: Chromatin) -> None:
    """Cytoplasm packed with coarse orange-red granules around a two-lobed nucleus."""
    _paint_cytoplasm(s, azure=0.10, eosin=0.20, rim=0.1)
    _paint_nucleus(s, chromatin)
    points = _grain_grid(s, spacing=0.82, jitter=0.36)
    room = _at(s.inner, points, s.scale) > 0.35
    over_nucleus = _at(s.core, points, s.scale) > 0.5
    keep = room & (~over_nucleus | (s.rng.random(len(points)) < 0.06))
    points = points[keep]
    discs = np.column_stack([points, s.rng.uniform(0.30, 0.46, len(points))])
    order = s.rng.permutation(len(discs))
    values = s.rng.uniform(0.55, 1.0, len(discs))
    grains = fill_discs(discs[order], s.body.shape[0], s.scale, values)
    s.dyes[..., EOSIN] += grains * 1.5 * s.rng.uniform(0.85, 1.15)
    s.dyes[..., CHROMATIN] += grains * 0.10


def _basophil(s: CellSheets, chromatin: Chromatin) -> None:
    """Coarse dark granules all over the cell, the nucleus half hidden under them."""
    _paint_cytoplasm(s, azure=0.22, eosin=0.22, rim=0.2)
    _paint_nucleus(s, chromatin)
    points = _grain_grid(s, spacing=s.rng.uniform(0.9, 1.15), jitter=0.42)
    inner, core = _at(s.inner, points, s.scale), _at(s.core, points, s.scale)
    chance = np.where(core > 0.5, s.rng.uniform(0.3, 0.9), 0.9)
    points = points[(inner > 0.3) & (s.rng.random(len(points)) < chance)]
    discs = np.column_stack([points, s.rng.uniform(0.34, 0.64, len(points))])
    washed = s.rng.random(len(discs)) < 0.10
    grains = fill_discs(
        discs[~washed], s.body.shape[0], s.scale, s.rng.uniform(0.7, 1, (~washed).sum())
    )
    s.dyes[..., CHROMATIN] += grains * 1.15
    s.dyes[..., AZURE] += grains * 0.5
    holes = fill_discs(discs[washed], s.body.shape[0], s.scale)
    s.dyes[:] *= (1.0 - 0.75 * holes)[..., None]


def _lymphocyte(s: CellSheets, chromatin: Chromatin) -> None:
    """A thin clear blue rim around a dense round nucleus."""
    _paint_cytoplasm(s, azure=0.52, eosin=0.02, rim=0.45)
    halo = cv2.GaussianBlur(s.core, (0, 0), 0.7 * s.scale)
    s.dyes[..., AZURE] *= 1.0 - 0.35 * halo  # the pale zone beside the nucleus
    _paint_nucleus(s, chromatin)


def _monocyte(s: CellSheets, chromatin: Chromatin) -> None:
    """Wide grey-blue, ground-glass cytoplasm with vacuoles and a folded nucleus."""
    _paint_cytoplasm(s, azure=0.50, eosin=0.20, rim=0.2)
    s.dyes[..., CHROMATIN] += 0.07 * np.clip(s.noise(0.4) + 0.4, 0, 2)
    _paint_nucleus(s, chromatin)
    _vacuoles(s, int(s.rng.poisson(4.0)), (0.3, 0.75))


PAINTERS: dict[str, Callable[[CellSheets, Chromatin], None]] = {
    "basophil": _basophil,
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
