"""Images of discs that pass for red cells."""

from __future__ import annotations

import cv2
import numpy as np


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """Return a disc as a mask; the middle of the first pixel is (0.5, 0.5)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.hypot(columns - x, rows - y) <= radius


def drawn(diameter, *, seed=0, cells=12, light=210, pale=True) -> np.ndarray:
    """Return discs, some with a pale middle, on an unevenly lit ground."""
    rng = np.random.default_rng(seed)
    side = round(7 * diameter)
    image = np.full((side, side), float(light))
    radius = diameter / 2
    places = []
    while len(places) < cells:
        x, y = rng.uniform(radius, side - radius, 2)
        if all(np.hypot(x - a, y - b) > 0.95 * diameter for a, b in places):
            places.append((x, y))
            image[disc(image.shape, x, y, radius)] = 120
            if pale and rng.random() < 0.5:
                image[disc(image.shape, x, y, 0.35 * radius)] = 180
    image *= np.linspace(0.8, 1.1, side)
    image = cv2.GaussianBlur(image, (0, 0), 0.03 * diameter)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
