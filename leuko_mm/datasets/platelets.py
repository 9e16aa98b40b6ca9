"""Platelets, painted in the colours of the nuclei beside them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.mosaic_layout import Tile

# Radii as shares of a tile's side, in which a red cell is about 0.23 wide.
RADII = (0.025, 0.06)
# Share of a cell's pixels, the darkest, that are taken for its nucleus.
NUCLEUS = 0.25


def paint_platelets(
    image: np.ndarray,
    labels: np.ndarray,
    tiles: Sequence[Tile],
    *,
    count: int,
    rng: np.random.Generator,
) -> int:
    """Paint platelets on the background of an image, in place.

    A platelet is an uneven ellipse with a soft edge and a granular middle, between the
    colour of a nucleus and that of what it lies on. One that would touch a leukocyte,
    or a pixel whose label is to be ignored, is left out.

    Args:
        image: uint8 (H, W, 3).
        labels: (H, W); read only, since platelets are background.
        tiles: where the colours of nuclei come from, in the image's stain.
        count: how many to try.
        rng: of places, shapes and colours.

    Returns:
        How many were painted.

    Example:
        >>> image = np.full((64, 64, 3), 200, np.uint8)
        >>> labels = np.zeros((64, 64), np.uint8)
        >>> cell, mask = np.full((32, 32, 3), 80, np.uint8), np.full((32, 32), 3, "u1")
        >>> rng = np.random.default_rng(0)
        >>> painted = paint_platelets(image, labels, [(cell, mask)], count=5, rng=rng)
        >>> painted, image.min() < 200, labels.any()
        (5, np.True_, np.False_)
    """
    colours = [c for tile in tiles if (c := _nucleus_colour(tile)) is not None]
    if not colours:
        return 0
    side, painted = len(tiles[0][1]), 0
    for _ in range(count):
        radius = max(1.5, side * rng.uniform(*RADII))
        reach = int(np.ceil(2 * radius)) + 1
        height, width = labels.shape
        if min(height, width) <= 2 * reach:
            break
        x = int(rng.integers(reach, width - reach))
        y = int(rng.integers(reach, height - reach))
        where = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
        if (labels[where] != BACKGROUND).any():
            continue
        colour = colours[int(rng.integers(len(colours)))]
        image[where] = _painted(image[where], colour, radius, rng)
        painted += 1
    return painted


def _nucleus_colour(tile: Tile) -> np.ndarray | None:
    """Return the mean colour of a cell's darkest pixels, None without a cell."""
    cell, mask = tile
    pixels = cell[(mask != BACKGROUND) & (mask != IGNORE_LABEL)]
    if not len(pixels):
        return None
    light = pixels.sum(axis=1, dtype=np.int64)
    darkest = pixels[light <= np.quantile(light, NUCLEUS)]
    return darkest.mean(axis=0)


def _painted(patch: np.ndarray, colour: np.ndarray, radius: float, rng) -> np.ndarray:
    """Return a patch of background with a platelet in its middle."""
    side = len(patch)
    noise = cv2.GaussianBlur(
        rng.normal(size=(side, side)).astype(np.float32), (0, 0), max(0.6, radius / 4)
    )
    noise /= max(float(noise.std()), 1e-6)
    rows, columns = np.mgrid[:side, :side] - side // 2
    angle, squeeze = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / squeeze
    away = np.hypot(along, across) / radius + 0.12 * noise
    # 1 inside, 0 outside, over about a third of the radius.
    cover = np.clip((1.15 - away) * 3, 0, 1)
    depth = cover * np.clip(rng.uniform(0.35, 0.8) + 0.15 * noise, 0, 1)
    mixed = patch + depth[..., None] * (colour - patch)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
