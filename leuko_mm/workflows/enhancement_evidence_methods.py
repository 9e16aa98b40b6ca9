"""What AHE-Retinex is measured against, all as functions from RGB to RGB."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from leuko_mm.evaluation.colour_spread import cielab
from leuko_mm.transforms import READINGS, RetinexParams, enhance_image, equalise_value
from leuko_mm.transforms.enhance_windows import in_windows
from leuko_mm.transforms.retinex_params import PRESETS

Method = Callable[[np.ndarray], np.ndarray]
RAW = "raw"
CLAHE = "CLAHE on V"
# An image-driven stretch cancels gain and offset, so these give what a preset that
# is measured gives.
SAME_AS_PERCENTILE = ("gain_5", "gain_192")


def retinex_methods() -> dict[str, Method]:
    """Return every reading with every preset, the default ones by the reading alone."""
    return {
        method_name(reading, preset): partial(
            enhance_image, reading=reading, params=RetinexParams.preset(preset)
        )
        for preset in PRESETS
        if preset not in SAME_AS_PERCENTILE
        for reading in READINGS
    }


def method_name(reading: str, preset: str) -> str:
    """Return the name that a reading with a preset goes by on the page.

    Example:
        >>> method_name("hsv", "default"), method_name("rgb", "min_max")
        ('hsv', 'rgb, min_max')
    """
    return reading if preset == "default" else f"{reading}, {preset}"


def other_methods(target: np.ndarray) -> dict[str, Method]:
    """Return what AHE-Retinex competes with; stain normalisation if it is installed.

    Args:
        target: the image that stain normalisation makes others look like, uint8 RGB.
    """
    found: dict[str, Method] = {
        RAW: np.asarray,
        CLAHE: lambda image: in_windows(image, equalise_value),
        "grey world": grey_world,
    }
    try:
        from torchstain.base.normalizers import MacenkoNormalizer, ReinhardNormalizer
    except ImportError:
        return found
    reinhard = ReinhardNormalizer(backend="numpy")
    macenko = MacenkoNormalizer(backend="numpy")
    for normaliser in (reinhard, macenko):
        normaliser.fit(target)
    found["Reinhard"] = reinhard.normalize
    found["Macenko"] = lambda image: macenko.normalize(image, stains=False)[0]
    return found


def grey_world(image: np.ndarray) -> np.ndarray:
    """Scale R, G and B so that the image's mean is grey.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Example:
        >>> grey_world(np.full((2, 2, 3), (60, 90, 120), np.uint8))[0, 0].tolist()
        [90, 90, 90]
    """
    means = image.reshape(-1, 3).mean(axis=0)
    scaled = image * (means.mean() / np.maximum(means, 1))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def most_usual(images: Sequence[np.ndarray]) -> int:
    """Return the place of the image whose mean colour is nearest to that of all.

    Args:
        images: uint8 RGB.
    """
    means = np.array([cielab(i[::4, ::4].reshape(-1, 3)).mean(axis=0) for i in images])
    return int(np.argmin(((means - means.mean(axis=0)) ** 2).sum(axis=1)))
