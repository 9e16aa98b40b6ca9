"""Label maps in the class colours, as RGB arrays and as palette PNGs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_COLOURS, label_lut

RGB = tuple[int, int, int]


def label_bytes(labels: np.ndarray) -> np.ndarray:
    """Return a label map as uint8, refusing what a byte cannot hold.

    Shape:
        (H, W) integers -> (H, W) uint8.

    Raises:
        ValueError: if the array is not two-dimensional, not of integers, or
            holds values outside 0-255.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise ValueError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; expected "
            "(H, W) integers; take the argmax of logits and drop the batch axis"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= 255:
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to 255"
        )
    return labels.astype(np.uint8)


def colourise(
    labels: np.ndarray, colours: tuple[RGB, ...] = CLASS_COLOURS
) -> np.ndarray:
    """Paint a label map in the class colours; ids without one come out grey.

    Args:
        labels: class ids, 0-255.
        colours: RGB of each id in order.

    Shape:
        (H, W) -> (H, W, 3) uint8 RGB.

    Example:
        >>> colourise(np.array([[0, 3, 255]])).tolist()
        [[[0, 0, 0], [255, 255, 0], [128, 128, 128]]]
    """
    return label_lut(colours)[label_bytes(labels)]


def flat_palette(colours: tuple[RGB, ...] = CLASS_COLOURS) -> list[int]:
    """Return the 768 numbers (r, g, b of ids 0-255) that a palette PNG carries.

    Example:
        >>> flat_palette()[3:9]
        [255, 0, 0, 0, 255, 0]
    """
    # (256, 3) -> (768,)
    return label_lut(colours).ravel().tolist()


def save_palette_png(
    path: str | Path, labels: np.ndarray, colours: tuple[RGB, ...] = CLASS_COLOURS
) -> None:
    """Write a mask whose pixels stay the ids while viewers show the colours.

    Args:
        path: file to write, ending in .png; its folder must exist.
        labels: class ids, 0-255.
        colours: RGB of each id in order.

    Shape:
        labels (H, W).

    Raises:
        ValueError: if the name does not end in .png: other formats change ids.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: masks are kept as .png, which preserves the ids")
    picture = Image.fromarray(label_bytes(labels), mode="L")
    # Attaching a palette turns L into P without touching a pixel.
    picture.putpalette(flat_palette(colours))
    picture.save(path, optimize=True)
