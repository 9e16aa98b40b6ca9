"""AHE-Retinex on one window: a pure function from RGB to RGB."""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.transforms.retinex_fast import hue_cast, msrcr
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams

_DEFAULTS = RetinexParams()


def ahe_retinex(
    image: np.ndarray, *, reading: str = "hsv", params: RetinexParams = _DEFAULTS
) -> np.ndarray:
    """Balance the colours of a smear and sharpen its features, as one window.

    Multiscale retinex with colour restoration (MSRCR) discounts the light and
    stain around each pixel; adaptive histogram equalisation (AHE, the
    contrast-limited kind) then works on the value V of HSV.

    Args:
        image: RGB, 0-255.
        reading: ``hsv`` MSRCR on H and S, AHE on V (the paper's conclusion);
            ``hsv_all`` MSRCR on H, S and V, then AHE on V (its eq. 2);
            ``rgb`` MSRCR on R, G and B, then AHE on V (its Algorithm 1).
        params: scales, constants and stretch.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: for any other type or shape, an empty image, an unknown
            reading.

    Reference:
        The paper, section 2.1 and Algorithm 1; Rahman, Jobson and Woodell on
        MSRCR. Differs: hue is treated as an angle (``hsv``) or cut opposite to
        the stains (``hsv_all``); grey pixels stay grey; the colour restoration
        does not go below 0; the output stretch is fixed by default.

    Example:
        >>> grey = np.full((4, 5, 3), 90, np.uint8)
        >>> ahe_retinex(grey).shape
        (4, 5, 3)
    """
    check_image(image)
    if reading not in READINGS:
        raise ValueError(
            f"unknown AHE-Retinex reading {reading!r}; expected one of: "
            f"{', '.join(READINGS)}"
        )
    image = np.ascontiguousarray(image)
    if reading == "rgb":
        return _rgb_reading(image, params)
    return _hsv_reading(image, params, every_channel=reading == "hsv_all")


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless the image is (H, W, 3) uint8 and not empty."""
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"AHE-Retinex takes a numpy array (H, W, 3) uint8, got {type(image)}"
        )
    fits = image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    if image.dtype != np.uint8 or not fits:
        raise ValueError(
            "AHE-Retinex takes RGB, (H, W, 3) uint8, H and W at least 1; got "
            f"{image.shape} {image.dtype}"
        )


def equalise(value: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Return V after contrast-limited AHE, (H, W) uint8."""
    rows, columns = params.grid_for(*value.shape)
    # OpenCV names the grid (columns, rows).
    return cv2.createCLAHE(params.clip_limit, (columns, rows)).apply(value)


def stretch(channel: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Bring one channel of MSRCR to 0-255, still in floating point."""
    if params.stretch == "fixed":
        out = channel * channel.dtype.type(params.gain)
        return np.clip(out + channel.dtype.type(params.offset), 0, 255)
    if params.stretch == "min_max":
        low, high = float(channel.min()), float(channel.max())
    elif params.stretch == "percentile":
        at = 100 * params.stretch_at
        low, high = (float(v) for v in np.percentile(channel, (at, 100 - at)))
    else:
        mean = float(channel.mean(dtype=np.float64))
        spread = params.stretch_at * float(channel.std(dtype=np.float64))
        low, high = mean - spread, mean + spread
    # A flat channel has nothing to stretch; below this it is rounding noise.
    if high - low < 1e-3:
        return np.full_like(channel, min(max(params.offset, 0), 255))
    out = (channel - channel.dtype.type(low)) * channel.dtype.type(255 / (high - low))
    return np.clip(out, 0, 255)


def _rgb_reading(image: np.ndarray, params: RetinexParams) -> np.ndarray:
    channels = image.astype(np.float32)
    total = channels.sum(axis=2) + np.float32(3)
    restored = msrcr(channels, total, params)
    rgb = cv2.merge([stretch(restored[..., i], params) for i in range(3)])
    rgb = np.rint(rgb).astype(np.uint8)
    value = rgb.max(axis=2)
    # Scaling R, G and B by one factor changes V and leaves H and S alone.
    factor = equalise(value, params) / np.maximum(value, 1).astype(np.float32)
    return np.rint(np.minimum(rgb * factor[..., None], 255)).astype(np.uint8)


def _hsv_reading(
    image: np.ndarray, params: RetinexParams, *, every_channel: bool
) -> np.ndarray:
    hue, saturation, value = cv2.split(
        cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    )
    saturation = saturation * np.float32(255)
    gate = saturation / (saturation + np.float32(params.grey_floor))
    if every_channel:
        # Hue as a number, 0-255, cut open opposite to the anchor.
        cut = params.anchor_hue - 180
        linear = np.mod(hue - np.float32(cut), 360) * np.float32(255 / 360)
        channels = cv2.merge([linear, saturation, value])
        total = channels.sum(axis=2) + np.float32(3)
        out = msrcr(channels, total, params)
        hue, saturation, value = (stretch(out[..., i], params) for i in range(3))
        hue = hue * np.float32(360 / 255) + np.float32(cut)
        value = np.rint(value).astype(np.uint8)
    else:
        # An angle has no amount: in the sum of eq. 2 it counts half the range.
        total = saturation + value + np.float32(127.5 + 3)
        hue = hue - hue_cast(hue, saturation, params)
        restored = msrcr(saturation[..., None], total, params)[..., 0]
        saturation = stretch(restored, params)
        value = image.max(axis=2)
    hsv = cv2.merge(
        [
            np.mod(hue, np.float32(360)),
            saturation * gate * np.float32(1 / 255),
            equalise(value, params).astype(np.float32),
        ]
    )
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)
