"""The pictures of one cell, side by side on a page: as taken, as seen, as labelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.report.html import image_uri
from leuko_mm.report.overlay import CLASS_LEGEND, overlay
from leuko_mm.report.palette import RGB, label_bytes

PANEL_SIDE = 320  # px of the longer side: what a phone and half a dialog can show
QUALITY = 88


class Panel(NamedTuple):
    """One picture: its caption, its ``data:`` URI, and its size in pixels."""

    caption: str
    uri: str
    width: int
    height: int


def cell_panels(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    enhanced: np.ndarray | None = None,
    legend: Mapping[str, RGB] = CLASS_LEGEND,
) -> list[Panel]:
    """Draw a cell as input, enhanced, truth and prediction, all of one size.

    Args:
        image: the cell as taken, uint8 RGB.
        truth: class ids of the mask; 255 is not judged.
        prediction: class ids that the model gave.
        enhanced: the cell as the model saw it; None leaves the panel out.
        legend: name and RGB of each id in order.

    Shape:
        (H, W, 3), (H, W), (H, W), (H, W, 3).

    Raises:
        ValueError: if the arrays do not fit.

    Example:
        >>> cell = np.full((8, 4, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 4), np.uint8)
        >>> [(p.caption, p.width, p.height) for p in cell_panels(cell, labels, labels)]
        [('input', 160, 320), ('truth', 160, 320), ('prediction', 160, 320)]
    """
    wide = _fitted(image)
    pictures = {"input": wide}
    if enhanced is not None:
        pictures["enhanced"] = _fitted(enhanced)
    for caption, labels in (("truth", truth), ("prediction", prediction)):
        pictures[caption] = overlay(
            wide, _fitted(label_bytes(labels)), alpha=0.25, legend=legend
        )
    return [
        Panel(caption, image_uri(picture, quality=QUALITY), *picture.shape[1::-1])
        for caption, picture in pictures.items()
    ]


def _fitted(array: np.ndarray) -> np.ndarray:
    """Scale an image or its labels so that the longer side is ``PANEL_SIDE``."""
    factor = PANEL_SIDE / max(array.shape[:2])
    height, width = (max(round(side * factor), 1) for side in array.shape[:2])
    if array.ndim == 2:
        way = cv2.INTER_NEAREST_EXACT
    else:
        way = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    return cv2.resize(array, (width, height), interpolation=way)
