"""AHE-Retinex as a registered step of a data pipeline."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.enhance_windows import enhance_image
from leuko_mm.transforms.image_input import as_rgb_uint8
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams


@TRANSFORMS.register_module()
class AHERetinex(BaseTransform):
    """Apply ``enhance_image`` to ``results['img']``; see there for what it does.

    Args:
        reading: ``hsv``, ``hsv_all`` or ``rgb``.
        preset: name of the numbers, see ``retinex_params.PRESETS``.
        window: side of a window in pixels.
        channel_order: order of ``results['img']``: ``bgr``, as mmcv loads it, or
            ``rgb``.

    Raises:
        ValueError: if an argument is none of the values named.
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
        if not isinstance(window, int) or window < 2:
            raise ValueError(
                f"AHERetinex window={window!r}: expected a whole number of at least 2"
            )
        self.reading = reading
        self.preset = preset
        self.window = window
        self.channel_order = channel_order
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
