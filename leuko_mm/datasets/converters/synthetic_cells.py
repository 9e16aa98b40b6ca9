"""The five leukocytes of a synthetic smear, from their anatomy to a drawn cell."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.datasets.converters.synthetic_canvas import (
    Stamp,
    fill_discs,
    fill_outline,
    warp,
)
from leuko_mm.datasets.converters.synthetic_nuclei import Nucleus, nucleus
from leuko_mm.datasets.converters.synthetic_painting import (
    PAINTERS,
    CellSheets,
    Chromatin,
)


@dataclass(frozen=True)
class Anatomy:
    """What the cells of one class have in common.

    Args:
        radius: smallest and largest radius of the cell, um.
        bumps: unevenness of the outline, relative to the radius.
        corners: chance of an outline drawn out into a corner.
        chromatin: how the nucleus takes the stain.
        wobble: bending of the nucleus' outline, um.
    """

    radius: tuple[float, float]
    bumps: float
    corners: float
    chromatin: Chromatin
    wobble: float


ANATOMY = {
    "basophil": Anatomy((7.0, 8.4), 0.050, 0.20, Chromatin(0.90, 0.15, 1.0), 0.35),
    "eosinophil": Anatomy((7.4, 9.2), 0.045, 0.20, Chromatin(1.05, 0.22, 1.1), 0.22),
    "lymphocyte": Anatomy((5.6, 7.6), 0.055, 0.40, Chromatin(1.30, 0.16, 1.3), 0.18),
    "monocyte": Anatomy((8.6, 10.6), 0.065, 0.35, Chromatin(0.95, 0.30, 0.9), 0.30),
    "neutrophil": Anatomy((7.2, 8.9), 0.050, 0.25, Chromatin(1.35, 0.20, 1.0), 0.22),
}


@dataclass(frozen=True)
class Leukocyte:
    """A leukocyte ready to be put on a canvas.

    Args:
        stamp: its drawing.
        radius: mean radius, um.
        nucleus: shape of the nucleus.
        core: (side, side) coverage of the nucleus in the stamp, 0-1.
    """

    stamp: Stamp
    radius: float
    nucleus: Nucleus
    core: np.ndarray


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
    core = _nucleus_sheet(shape, anatomy.wobble, side, scale, rng)
    core *= np.clip(inner / 0.5 - 0.4, 0, 1)  # a membrane stays free around it
    dyes = np.zeros((side, side, 4), np.float32)
    sheets = CellSheets(rng, scale, radius, body, inner, core, dyes)
    PAINTERS[class_name](sheets, anatomy.chromatin)
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
    """Rasterise lobes and filaments and bend them into grown shapes."""
    spines = [_dense(lobe) for lobe in shape.lobes] + list(shape.filaments)
    sheet = fill_discs(np.vstack(spines), side, scale)
    return warp(sheet, rng, scale, wobble, 2.2)


def _dense(spine: np.ndarray) -> np.ndarray:
    """Put two more discs between the discs of a spine, so that its edge is smooth."""
    steps = np.linspace(0, len(spine) - 1, 3 * len(spine) - 2)
    return np.column_stack(
        [np.interp(steps, np.arange(len(spine)), column) for column in spine.T]
    )
