"""Parts of a smear whose colours can be compared from slide to slide."""

from __future__ import annotations

import cv2
import numpy as np

# Pixels beside an outline that belong to neither side of it.
HALO = 7
EDGE = 2
RING = (1, 6)
# Grey levels of green between red cells and background; less is no red cell.
LEAST_CONTRAST = 15
LEAST_PIXELS = 200


def smear_regions(
    image: np.ndarray, cell: np.ndarray, nucleus: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Find background, red cells and the leukocyte of an image that holds one.

    Haemoglobin absorbs green, so outside the leukocyte (and 7 pixels around it) the
    green channel is cut in two by Otsu's threshold: below are red cells, above is
    background, each without the 2 pixels along the cut. Where the two differ by less
    than 15 levels there is no red cell, and all is background. What else lies there,
    platelets and pieces of other leukocytes, counts as red cells: take medians.

    Args:
        image: RGB as taken, uint8.
        cell: the leukocyte, bool.
        nucleus: its nucleus, bool, where that is known.

    Shape:
        (H, W, 3), (H, W), (H, W) -> name to (H, W) bool: ``background``,
        ``red cells``, ``leukocyte``, ``inside`` and ``outside`` (2 to 6 pixels from
        the outline), with a nucleus also ``nucleus`` and ``cytoplasm``. Regions of
        fewer than 200 pixels are left out.

    Example:
        >>> image = np.full((64, 64, 3), 220, np.uint8)
        >>> cell = np.zeros((64, 64), bool)
        >>> cell[20:50, 20:50] = True
        >>> sorted(smear_regions(image, cell))
        ['background', 'inside', 'leukocyte', 'outside']
    """
    cell = np.asarray(cell, bool)
    around = ~_grown(cell, HALO)
    near, far = RING
    found = {
        "leukocyte": cell,
        "inside": _shrunk(cell, near) & ~_shrunk(cell, far),
        "outside": _grown(cell, far) & ~_grown(cell, near),
        **_red_and_background(image[..., 1], around),
    }
    if nucleus is not None:
        nucleus = np.asarray(nucleus, bool) & cell
        found["nucleus"] = _shrunk(nucleus, EDGE)
        found["cytoplasm"] = _shrunk(cell, EDGE) & ~_grown(nucleus, EDGE)
    return {name: place for name, place in found.items() if place.sum() >= LEAST_PIXELS}


def _red_and_background(green: np.ndarray, around: np.ndarray) -> dict[str, np.ndarray]:
    levels = green[around]
    if levels.size < LEAST_PIXELS:
        return {}
    cut, _ = cv2.threshold(levels[None], 0, 255, cv2.THRESH_OTSU)
    bright = levels > cut
    flat = bright.all() or not bright.any()
    if flat or levels[bright].mean() - levels[~bright].mean() < LEAST_CONTRAST:
        return {"background": around}
    return {
        "background": _shrunk(green > cut, EDGE) & around,
        "red cells": _shrunk(green <= cut, EDGE) & around,
    }


def _grown(place: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(place.astype(np.uint8), _disc(pixels)).astype(bool)


def _shrunk(place: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.erode(place.astype(np.uint8), _disc(pixels)).astype(bool)


def _disc(radius: int) -> np.ndarray:
    side = 2 * radius + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
