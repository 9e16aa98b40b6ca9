"""AHE-Retinex on one window: a pure function from RGB to RGB."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from leuko_mm.transforms.adaptive_equalisation import adaptive_equalisation
from leuko_mm.transforms.image_input import as_rgb_uint8
from leuko_mm.transforms.retinex_fast import bands, restored_planes
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams

_DEFAULTS = RetinexParams()
LARGEST_SIDE = 32766


def ahe_retinex(
    image: np.ndarray, *, reading: str = "hsv", params: RetinexParams = _DEFAULTS
) -> np.ndarray:
    """Balance the colours of a smear and sharpen its features, as one window.

    Multiscale retinex with colour restoration (MSRCR) discounts the light and
    stain around each pixel; adaptive histogram equalisation (AHE, the
    contrast-limited kind) then works on the value V of HSV.

    Args:
        image: RGB; ``as_rgb_uint8`` lists what else is taken, and what is not.
        reading: ``hsv`` MSRCR on H and S, AHE on V (the paper's conclusion);
            ``hsv_all`` MSRCR on H, S and V, then AHE on V (its eq. 2);
            ``rgb`` MSRCR on R, G and B, then AHE on V (its Algorithm 1).
        params: scales, constants and stretch.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: for an image that ``as_rgb_uint8`` refuses, one with a side
            above 32,766 pixels (OpenCV's limit), or an unknown reading.

    Reference:
        The paper, section 2.1 and Algorithm 1; Rahman, Jobson and Woodell on
        MSRCR. Differs: hue is treated as an angle (``hsv``) or cut opposite to
        the stains (``hsv_all``); grey pixels stay grey; the colour restoration
        does not go below 0; the output stretch is fixed by default; hue takes no
        colour restoration in ``hsv``, since an angle times a factor would tear
        the circle open. docs/ahe_retinex.md gives the reasons.

    Example:
        >>> grey = np.full((4, 5, 3), 90, np.uint8)
        >>> ahe_retinex(grey).shape
        (4, 5, 3)
    """
    image = as_rgb_uint8(image)
    if max(image.shape[:2]) > LARGEST_SIDE:
        raise ValueError(
            f"{image.shape[0]} x {image.shape[1]} pixels are too many for one window "
            f"(at most {LARGEST_SIDE} a side): use enhance_image"
        )
    if reading not in READINGS:
        raise ValueError(
            f"unknown AHE-Retinex reading {reading!r}; expected one of: "
            f"{', '.join(READINGS)}"
        )
    planes = restored_planes(image, reading, params)
    if reading == "rgb":
        return equalise_planes(planes, params)
    hue, saturation, value = planes
    value = equalise(value, params)
    restored = np.empty_like(image)
    for rows in bands(value.shape):
        degrees = hue[rows] * np.float32(360 / 255)
        hsv = cv2.merge([degrees, saturation[rows] * (1 / 255), value[rows]])
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        cv2.add(rgb, (0, 0, 0, 0), dst=restored[rows], dtype=cv2.CV_8U)
    return restored


def equalise(value: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Return V (H, W) float32 after AHE."""
    return adaptive_equalisation(
        value, clip_limit=params.clip_limit, grid=params.grid_for(*value.shape)
    )


def equalise_planes(planes: Sequence[np.ndarray], params: RetinexParams) -> np.ndarray:
    """Equalise the V of three colour planes and scale them to the new V.

    Shape:
        three planes (H, W) float32 in 0-255 -> (H, W, 3) uint8.
    """
    value = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    equalised = equalise(value, params)
    colours = np.empty((*value.shape, len(planes)), np.uint8)
    for rows in bands(value.shape):
        # One factor on R, G and B changes V and leaves H and S alone.
        factor = equalised[rows] / cv2.max(value[rows], 1)
        colours[rows] = cv2.merge(
            [cv2.multiply(plane[rows], factor, dtype=cv2.CV_8U) for plane in planes]
        )
    return colours
