"""How far colours lie apart, between slides and between classes, in CIELAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


def cielab(pixels: np.ndarray) -> np.ndarray:
    """Return sRGB colours as CIELAB (D65): L 0 to 100, a and b about -100 to 100.

    Shape:
        (N, 3) uint8 RGB -> (N, 3) float64.

    Example:
        >>> cielab(np.array([[255, 255, 255], [0, 0, 0]], np.uint8)).round(1).tolist()
        [[100.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    scaled = np.ascontiguousarray(pixels)[:, None].astype(np.float32) / 255
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[:, 0].astype(np.float64)


def spread(colours: np.ndarray) -> float:
    """Return the root mean square distance of colours from their mean.

    The distance is the Euclidean one (CIE 1976); about 2.3 is just noticeable.

    Shape:
        (N, 3) -> a number; NaN without a colour.

    Example:
        >>> spread(np.array([[50.0, 0, 0], [54.0, 0, 0]]))
        2.0
    """
    colours = np.asarray(colours, np.float64)
    if len(colours) == 0:
        return float("nan")
    off = colours - colours.mean(axis=0)
    return float(np.sqrt((off**2).sum(axis=1).mean()))


@dataclass(frozen=True)
class ClassSpread:
    """Spread of one colour a slide, where every slide shows one class.

    Attributes:
        between_slides: root mean square distance of slides from the mean of their
            class, classes weighing the same.
        between_classes: the same of the classes' means from the mean of them all.
    """

    between_slides: float
    between_classes: float

    @property
    def separability(self) -> float:
        """How many times the classes differ by more than their slides do."""
        if self.between_slides == 0:
            return float("inf") if self.between_classes else float("nan")
        return self.between_classes / self.between_slides


def class_spread(colours: np.ndarray, classes: Sequence[str]) -> ClassSpread:
    """Divide the spread of slides' colours into that within and between classes.

    Args:
        colours: one a slide.
        classes: the class of each.

    Shape:
        (N, 3), N names.

    Raises:
        ValueError: if the lengths differ or there is no slide.

    Example:
        >>> found = class_spread(
        ...     np.array([[1.0, 0, 0], [3.0, 0, 0], [11.0, 0, 0], [13.0, 0, 0]]),
        ...     ["a", "a", "b", "b"],
        ... )
        >>> found.between_slides, found.between_classes, found.separability
        (1.0, 5.0, 5.0)
    """
    colours, classes = np.asarray(colours, np.float64), np.asarray(classes)
    if len(colours) != len(classes) or len(colours) == 0:
        raise ValueError(
            f"{len(colours)} colours and {len(classes)} classes; expected as many, "
            "one or more"
        )
    members = [colours[classes == name] for name in np.unique(classes)]
    within = np.mean([spread(group) ** 2 for group in members])
    return ClassSpread(
        between_slides=float(np.sqrt(within)),
        between_classes=spread([group.mean(axis=0) for group in members]),
    )
