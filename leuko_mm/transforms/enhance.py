"""AHE-Retinex and its equalisation alone as registered transforms."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.ahe_retinex import (
    DEFAULTS,
    as_rgb_uint8,
    enhance_image,
    equalise_planes,
    in_windows,
)
from leuko_mm.transforms.retinex import READINGS, RetinexParams

# Smaller windows show no surround, and there are so many of them that none ends.
LEAST_WINDOW = 32


@TRANSFORMS.register_module()
class AHERetinex(BaseTransform):
    """Apply ``enhance_image`` to ``results['img']``; see there for what it does.

    Args:
        reading: ``hsv``, ``hsv_all`` or ``rgb``.
        preset: name of the numbers, see ``leuko_mm.transforms.retinex.PRESETS``.
        window: side of a window in pixels.
        channel_order: order of ``results['img']``: ``bgr``, as mmcv loads it, or
            ``rgb``.

    Raises:
        ValueError: if an argument is not one of these values.
    """

    def __init__(
        self,
        reading: str = "hsv",
        preset: str = "default",
        *,
        window: int = 256,
        channel_order: str = "bgr",
    ) -> None:
        if reading not in READINGS:
            raise ValueError(
                f"AHERetinex reading={reading!r}: expected one of {READINGS}"
            )
        if channel_order not in ("bgr", "rgb"):
            raise ValueError(
                f"AHERetinex channel_order={channel_order!r}: expected 'bgr' or 'rgb'"
            )
        _check_window("AHERetinex", window)
        self.reading, self.preset = reading, preset
        self.window, self.channel_order = window, channel_order
        self.params = RetinexParams.preset(preset)

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']`` by its enhanced form, in the same order."""
        # Before the flip: a grey image has no last axis of channels to flip.
        image = as_rgb_uint8(results["img"])
        flipped = self.channel_order == "bgr"
        out = enhance_image(
            image[..., ::-1] if flipped else image,
            window=self.window,
            overlap=self.window // 4,
            reading=self.reading,
            params=self.params,
        )
        results["img"] = np.ascontiguousarray(out[..., ::-1]) if flipped else out
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(reading={self.reading!r}, "
            f"preset={self.preset!r}, window={self.window}, "
            f"channel_order={self.channel_order!r})"
        )


def equalise_value(
    image: np.ndarray, *, params: RetinexParams = DEFAULTS
) -> np.ndarray:
    """Equalise the V of HSV with limited contrast (CLAHE), as one window.

    The equalisation of ``ahe_retinex`` without the retinex. R, G and B are multiplied
    by one factor, so hue and saturation stay, and their order does not matter.

    Args:
        image: RGB or BGR; ``as_rgb_uint8`` lists what else is taken.
        params: of these, ``clip_limit``, ``grid`` and ``min_tile`` count.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: for an image that ``as_rgb_uint8`` refuses.
    """
    planes = cv2.split(as_rgb_uint8(image))
    return equalise_planes([plane.astype(np.float32) for plane in planes], params)


@TRANSFORMS.register_module()
class ValueEqualisation(BaseTransform):
    """Apply ``equalise_value`` to ``results['img']`` by the window rule.

    The clip limit and tiles are those of ``leuko_mm.AHERetinex``.

    Args:
        window: side of a window in pixels.

    Raises:
        ValueError: if the window is not a whole number of at least 32.
    """

    def __init__(self, window: int = 256) -> None:
        _check_window("ValueEqualisation", window)
        self.window = window

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']`` by its equalised form, in the same order."""
        results["img"] = in_windows(
            as_rgb_uint8(results["img"]),
            equalise_value,
            window=self.window,
            overlap=self.window // 4,
        )
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(window={self.window})"


def _check_window(name: str, window: int) -> None:
    if not isinstance(window, int) or window < LEAST_WINDOW:
        raise ValueError(
            f"{name} window={window!r}: expected a whole number of pixels of at least "
            f"{LEAST_WINDOW}, usually 256"
        )
