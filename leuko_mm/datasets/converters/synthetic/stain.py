"""How a synthetic slide looks: canvas, dyes, light and camera.

A scene is drawn as amounts of four dyes per pixel. What the camera sees follows from
Beer and Lambert's law: cells on each other darken, a pale stain pales everything it
dyes, and no class owns a colour.

Single things are drawn on square sheets of ``side`` pixels. Their lengths are in um
from the sheet's centre, and become pixels only here, by a ``scale`` in pixels per um.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Dyes of a canvas, in this order.
HAEMOGLOBIN, EOSIN, AZURE, CHROMATIN = range(4)

# Optical density (natural logarithm) in R, G, B of one unit of each dye.
_DYES = np.array(
    [
        (0.40, 0.60, 0.64),  # red cells: grey-brown to salmon
        (0.16, 0.60, 0.56),  # eosin: orange-pink
        (0.52, 0.36, 0.16),  # azure: blue
        (0.80, 1.30, 0.58),  # azure bound to chromatin: purple
    ]
)
_HUE_SPREAD = np.array([0.12, 0.12, 0.09, 0.09])  # of a channel's density, by slide
_STYLE_STREAM = 7919  # keeps the random stream of styles apart from that of cells
_SUBPIXEL_BITS = 4
_THINNED = 0.35  # of the thinner of two overlapping cells
_VIEW = 0.7  # share of the field's gradient of light that a crop spans


@dataclass(frozen=True)
class Stamp:
    """A small square drawing with its centre in the middle."""

    dyes: np.ndarray  # (side, side, 4) amounts of dye, float32
    alpha: np.ndarray  # (side, side) how much of a pixel it covers, 0-1


class Canvas:
    """Amounts of dye (size, size, 4) and class labels (size, size) of a scene.

    ``scale`` is in pixels per um.
    """

    def __init__(self, size: int, scale: float):
        self.size = size
        self.scale = scale
        self.dyes = np.zeros((size, size, 4), np.float32)
        self.labels = np.zeros((size, size), np.uint8)

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
        side = stamp.alpha.shape[0]
        for middle in (y, x):
            start = round(middle * self.scale - side / 2)
            low = max(start, 0)
            high = max(low, min(start + side, self.size))
            there.append(slice(low, high))
            here.append(slice(low - start, high - start))
        return tuple(there), tuple(here)


def fill_outline(outline: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Rasterise a closed outline with smooth edges.

    Shape:
        (N, 2) points x, y -> (side, side), float32 coverage 0-1.
    """
    sheet = np.zeros((side, side), np.uint8)
    points = _fixed_point(outline, side, scale)
    cv2.fillPoly(sheet, [points], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return sheet.astype(np.float32) / 255.0


def fill_discs(
    discs: np.ndarray, side: int, scale: float, values: np.ndarray | None = None
) -> np.ndarray:
    """Rasterise discs; where they overlap, the last one drawn is seen.

    Shape:
        (N, 3) x, y and radius, and (N,) values 0-1 -> (side, side), float32 0-1.
    """
    sheet = np.zeros((side, side), np.uint8)
    centres = _fixed_point(discs[:, :2], side, scale).tolist()
    unit = scale * 2**_SUBPIXEL_BITS
    radii = np.rint(discs[:, 2] * unit).astype(int).tolist()
    greys = [255] * len(discs) if values is None else (values * 255).tolist()
    for centre, radius, grey in zip(centres, radii, greys, strict=True):
        cv2.circle(sheet, centre, radius, grey, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return sheet.astype(np.float32) / 255.0


def _fixed_point(points: np.ndarray, side: int, scale: float) -> np.ndarray:
    """Points in um from the centre -> OpenCV's fixed-point pixels."""
    pixels = points * scale + (side - 1) / 2
    return np.rint(pixels * 2**_SUBPIXEL_BITS).astype(np.int32)


def smooth_noise(
    rng: np.random.Generator, side: int, scale: float, grain: float
) -> np.ndarray:
    """Return a texture that changes over ``grain`` um, of mean 0 and deviation 1."""
    cells = max(int(np.ceil(side / max(grain * scale, 1.0))), 1) + 2
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return fine * np.float32(1.3)


def warp(
    sheet: np.ndarray, rng: np.random.Generator, scale: float, bend: float, grain: float
) -> np.ndarray:
    """Bend a sheet by about ``bend`` um, another way every ``grain`` um."""
    side = sheet.shape[0]
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x += smooth_noise(rng, side, scale, grain) * np.float32(bend * scale)
    y += smooth_noise(rng, side, scale, grain) * np.float32(bend * scale)
    return cv2.remap(sheet, x, y, cv2.INTER_LINEAR)


@dataclass(frozen=True)
class SlideStyle:
    """Stain, light and camera shared by everything on one slide."""

    dyes: tuple[tuple[float, float, float], ...]  # optical density in R, G, B of each
    light: tuple[float, float, float]  # colour of the empty field in R, G, B, 0-1
    gradient: tuple[float, float]  # relative change of the light per field, along x, y
    glare: float  # chance that a saturated patch of light reaches into a crop
    glare_colour: tuple[float, float, float]  # what that patch adds to R, G, B, 0-1
    saturation: float  # factor on the distance from grey
    gamma: float  # exponent of the camera's response
    blur: float  # standard deviation of the defocus in um
    noise: float  # standard deviation of the sensor's noise in grey levels of 255
    crowding: float  # share of the free field covered by red cells
    pallor: float  # depth of the red cells' pale centre, 0-1
    clumping: float  # share of red cells that may lie on each other
    mottle: float  # dye left by plasma proteins between the cells
    dirt: float  # platelets and stain deposit, relative to an ordinary slide


def slide_style(seed: int, slide: int) -> SlideStyle:
    """Draw the style of a slide; the same (seed, slide) always gives the same one."""
    if seed < 0 or slide < 0:
        raise ValueError(
            f"seed and slide are {seed} and {slide}; expected numbers from 0 on"
        )
    rng = np.random.default_rng([seed, slide, _STYLE_STREAM])
    glare_hue = np.array([rng.uniform(-0.25, 0.05), 0.22, rng.uniform(0.10, 0.30)])
    return SlideStyle(
        dyes=_draw_dyes(rng),
        light=_draw_light(rng),
        gradient=tuple(rng.uniform(-0.16, 0.16, 2).tolist()),
        glare=float(rng.choice([0.0, 0.1, 0.35])),
        glare_colour=tuple(glare_hue.tolist()),
        saturation=float(rng.uniform(0.6, 1.3)),
        gamma=float(rng.uniform(0.75, 1.25)),
        blur=float(rng.uniform(0.04, 0.15)),
        noise=float(rng.uniform(0.8, 3.0)),
        crowding=float(rng.uniform(0.28, 0.62)),
        pallor=float(rng.uniform(0.3, 0.85)),
        clumping=float(rng.uniform(0.05, 0.5)),
        mottle=float(rng.uniform(0.0, 0.03)),
        dirt=float(rng.uniform(0.3, 1.8)),
    )


def _draw_dyes(rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    """Vary hue (each channel on its own) and strength (each dye as a whole)."""
    hue = np.exp(rng.normal(0.0, 1.0, (4, 3)) * _HUE_SPREAD[:, None])
    low, high = (0.75, 0.65, 0.6, 0.7), (1.3, 1.5, 1.5, 1.5)
    strength = rng.uniform(low, high)[:, None]
    return tuple(tuple(row) for row in (_DYES * hue * strength).tolist())


def _draw_light(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a lamp from warm to cold, tinted towards green or magenta."""
    warmth, tint = rng.uniform(-0.20, 0.20), rng.uniform(-0.09, 0.09)
    colour = np.exp([warmth - tint / 2, tint, -warmth - tint / 2])
    return tuple((colour / colour.max() * rng.uniform(0.60, 0.92)).tolist())


def develop(
    dyes: np.ndarray, style: SlideStyle, rng: np.random.Generator, *, scale: float
) -> np.ndarray:
    """Turn amounts of dye into the image that the slide's camera takes.

    Shape:
        (H, W, 4), float32 -> (H, W, 3), uint8.
    """
    height, width = dyes.shape[:2]
    density = dyes.reshape(-1, 4) @ np.asarray(style.dyes, np.float32)
    image = np.exp(-density).reshape(height, width, 3)
    image *= _illumination((height, width), style, rng)
    image *= np.float32(np.exp(rng.normal(0.0, 0.04)))  # exposure
    focus = style.blur * rng.uniform(0.8, 1.4) * scale
    image = cv2.GaussianBlur(image, (0, 0), max(focus, 0.3))
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * np.float32(style.saturation)
    image = cv2.pow(np.clip(image, 0.0, 1.0), style.gamma)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image * 255.0 + noise * np.float32(style.noise)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _illumination(
    shape: tuple[int, int], style: SlideStyle, rng: np.random.Generator
) -> np.ndarray:
    """Light reaching each pixel: lamp colour, gradient and now and then a glare."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    field = 1.0 + _VIEW * (style.gradient[0] * x + style.gradient[1] * y)
    light = field[..., None] * np.asarray(style.light, np.float32)
    glared = rng.random() < style.glare
    angle, reach, spread = rng.uniform((0, 0.45, 0.12), (2 * np.pi, 0.7, 0.3))
    if glared:
        away = (x - reach * np.cos(angle)) ** 2 + (y - reach * np.sin(angle)) ** 2
        patch = np.exp(-away / (2 * spread**2)).astype(np.float32)
        light += patch[..., None] * np.asarray(style.glare_colour, np.float32)
    return light.astype(np.float32)
