"""The sheet that a synthetic smear is drawn on, and the strokes that draw it.

Lengths are in um and become pixels only here, so that the same strokes draw a crop,
a small test image or a whole field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

_SUBPIXEL_BITS = 4
_THINNED = 0.35  # of the thinner of two overlapping cells


@dataclass
class Stamp:
    """A small square drawing with its centre in the middle.

    Args:
        dyes: (side, side, 4) amounts of dye, float32.
        alpha: (side, side) how much of a pixel the drawn thing covers, 0-1.
    """

    dyes: np.ndarray
    alpha: np.ndarray


@dataclass
class Canvas:
    """Amounts of dye and class labels of a scene.

    Args:
        height: pixels.
        width: pixels.
        scale: pixels per um.
    """

    height: int
    width: int
    scale: float
    dyes: np.ndarray = field(init=False)
    labels: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.dyes = np.zeros((self.height, self.width, 4), np.float32)
        self.labels = np.zeros((self.height, self.width), np.uint8)

    def overlay(self, stamp: Stamp, x: float, y: float) -> None:
        """Lay a cell on others: flattened against them, it adds a part of its dye."""
        there, here = self._windows(stamp, x, y)
        old, new = self.dyes[there], stamp.dyes[here]
        self.dyes[there] = np.maximum(old, new) + _THINNED * np.minimum(old, new)

    def add(self, stamp: Stamp, x: float, y: float) -> None:
        """Lay a stamp on what is there: dyes add up, labels stay."""
        there, here = self._windows(stamp, x, y)
        self.dyes[there] += stamp.dyes[here]

    def cover(self, stamp: Stamp, x: float, y: float, label: int) -> None:
        """Put a stamp in the place of what is there, labels included."""
        there, here = self._windows(stamp, x, y)
        alpha = stamp.alpha[here]
        self.dyes[there] *= 1.0 - alpha[..., None]
        self.dyes[there] += stamp.dyes[here]
        self.labels[there][alpha >= 0.5] = label

    def _windows(self, stamp: Stamp, x: float, y: float) -> tuple[tuple, tuple]:
        """Slices of canvas and stamp that meet when the stamp is centred at (x, y)."""
        there, here = [], []
        for middle, limit in ((y, self.height), (x, self.width)):
            side = stamp.alpha.shape[0]
            start = round(middle * self.scale - side / 2)
            low, high = max(start, 0), min(start + side, limit)
            high = max(low, high)
            there.append(slice(low, high))
            here.append(slice(low - start, high - start))
        return tuple(there), tuple(here)


def fill_outline(outline: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Rasterise a closed outline with smooth edges.

    Args:
        outline: (N, 2) points x, y in um from the centre.
        side: pixels of the square sheet.
        scale: pixels per um.

    Shape:
        -> (side, side), float32 coverage 0-1.
    """
    sheet = np.zeros((side, side), np.uint8)
    points = _fixed(outline, side, scale)
    cv2.fillPoly(sheet, [points], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return sheet.astype(np.float32) / 255.0


def fill_discs(
    discs: np.ndarray, side: int, scale: float, values: np.ndarray | None = None
) -> np.ndarray:
    """Rasterise discs; where they overlap the last one drawn holds.

    Args:
        discs: (N, 3) x, y and radius in um from the centre.
        side: pixels of the square sheet.
        scale: pixels per um.
        values: (N,) brightness 0-1 of each disc; 1 where not given.

    Shape:
        -> (side, side), float32 0-1.
    """
    sheet = np.zeros((side, side), np.uint8)
    centres = _fixed(discs[:, :2], side, scale).tolist()
    unit = scale * 2**_SUBPIXEL_BITS
    radii = np.rint(discs[:, 2] * unit).astype(int).tolist()
    greys = [255] * len(discs) if values is None else (values * 255).tolist()
    for centre, radius, grey in zip(centres, radii, greys, strict=True):
        cv2.circle(sheet, centre, radius, grey, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return sheet.astype(np.float32) / 255.0


def _fixed(points: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Points in um from the centre -> OpenCV's fixed-point pixels."""
    pixels = points * scale + (side - 1) / 2
    return np.rint(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)


def smooth_noise(
    rng: np.random.Generator, side: int, scale: float, grain: float
) -> np.ndarray:
    """Return smooth random texture with mean 0 and a standard deviation near 1.

    Args:
        rng: source of randomness.
        side: pixels of the square sheet.
        scale: pixels per um.
        grain: distance in um over which the texture changes.

    Shape:
        -> (side, side), float32.
    """
    cells = max(int(np.ceil(side / max(grain * scale, 1.0))), 1) + 2
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return fine * np.float32(1.3)


def warp(
    sheet: np.ndarray, rng: np.random.Generator, scale: float, bend: float, grain: float
) -> np.ndarray:
    """Bend a drawing irregularly, so that drawn geometry looks grown.

    Args:
        sheet: (side, side) drawing.
        rng: source of randomness.
        scale: pixels per um.
        bend: typical displacement in um.
        grain: distance in um over which the displacement changes.
    """
    side = sheet.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x += smooth_noise(rng, side, scale, grain) * np.float32(bend * scale)
    y += smooth_noise(rng, side, scale, grain) * np.float32(bend * scale)
    return cv2.remap(sheet, x, y, cv2.INTER_LINEAR)
