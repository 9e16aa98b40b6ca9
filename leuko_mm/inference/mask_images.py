"""Masks among images, which are refused: cells in them would be counted."""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES, IGNORE_LABEL
from leuko_mm.errors import UsageError

# Levels of every channel that are black and white, with what JPEG makes of them.
BLACK, WHITE = 16, 239
# Grey levels: no photograph has as few, masks of nucleus and cell have three.
FEW_LEVELS = 5
# Of a palette; and the share of pixels that are as their neighbour: in masks nearly
# all, in a photograph of few colours far less.
FEW_COLOURS, FLAT = 32, 0.9
ROWS = 16  # that are looked at first


def refuse_mask(pixels: np.ndarray, *, palette: bool = False) -> None:
    """Refuse an image (H, W, 3) that is a mask: masks are often beside their fields.

    A mask has no colour and two to five values, or class ids and 255 alone; or it is
    black and white but for a few pixels, which soft edges or a lossy file make; or it
    is of few flat colours, of the classes or of a file's ``palette``.
    """
    _refuse_ids(pixels)
    _refuse_colours(pixels, palette)
    # Most images show in some of their rows that they are no mask.
    if sum(_black_and_white(pixels[:: max(1, len(pixels) // ROWS)])) < 0.9:
        return
    dark, light = _black_and_white(pixels)
    if min(dark, light) > 0 and dark + light >= 0.96:
        raise UsageError(
            "is black and white: a mask, not a photograph; keep masks in a folder of "
            "their own"
        )


def _refuse_ids(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    # Most images show in their first row that they have colour.
    if any((pixels[:1, :, c] != grey[:1]).any() for c in (1, 2)):
        return
    # calcHist reads in place; numpy's counting takes eight times a large image.
    counts = cv2.calcHist([pixels], [0], None, [256], [0, 256])
    values = np.flatnonzero(counts).tolist()
    ids = {*range(len(CLASS_NAMES)), IGNORE_LABEL}
    mask = len(values) > 1 and (set(values) <= ids or len(values) <= FEW_LEVELS)
    if mask and all(np.array_equal(pixels[..., c], grey) for c in (1, 2)):
        raise UsageError(
            f"holds no values but {', '.join(map(str, values))}: a mask, not a "
            "photograph; keep masks in a folder of their own"
        )


def _refuse_colours(pixels: np.ndarray, palette: bool) -> None:
    colours: set[tuple[int, ...]] = set()
    for row in pixels:  # the first few show that most images have more colours
        packed = row.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        values = np.unique(packed).tolist()
        colours |= {(v >> 16, v >> 8 & 255, v & 255) for v in values}
        if len(colours) > FEW_COLOURS or not (palette or colours <= {*CLASS_COLOURS}):
            return
    flat = (pixels[:, 1:] == pixels[:, :-1]).all(axis=-1).mean() >= FLAT
    if len(colours) > 1 and (flat or colours <= {*CLASS_COLOURS}):
        raise UsageError(
            f"has {len(colours)} flat colours: a mask, not a photograph; keep masks in "
            "a folder of their own"
        )


def _black_and_white(pixels: np.ndarray) -> tuple[float, float]:
    dark = (pixels.max(axis=-1) <= BLACK).mean()
    return float(dark), float((pixels.min(axis=-1) >= WHITE).mean())
