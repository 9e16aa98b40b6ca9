"""Vary stain and light, the way slides and microscopes differ from one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS


@dataclass(frozen=True)
class StainChange:
    """One change of colour: exponent, gain and offset a channel, saturation."""

    gamma: float
    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    saturation: float


def change_stain(image: np.ndarray, change: StainChange) -> np.ndarray:
    """Apply gamma, then gain and offset a channel, then saturation.

    Args:
        image: RGB or BGR.
        change: gain 1, gamma 1 and saturation 1 leave the image as it is; offsets are
            fractions of the full range.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.
    """
    levels = np.arange(256, dtype=np.float32) / 255
    curves = levels[:, None] ** change.gamma * np.float32(change.gain) + np.float32(
        change.offset
    )
    # A look-up of 256 levels a channel instead of a power for every pixel.
    changed = np.stack([curves[:, c][image[..., c]] for c in range(3)], axis=-1)
    grey = changed.mean(axis=-1, keepdims=True)
    changed = grey + np.float32(change.saturation) * (changed - grey)
    return np.clip(np.rint(changed * 255), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class StainJitter(BaseTransform):
    """Change the stain of an image at random (see ``change_stain``).

    Args:
        gain: a channel's factor lies in [1/(1+gain), 1+gain], evenly in the logarithm.
        offset: largest offset of a channel, as a fraction of the full range.
        saturation: as ``gain``, for the saturation.
        gamma: as ``gain``, for the exponent.
        prob: probability of any change.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        gain: float = 0.3,
        offset: float = 0.1,
        saturation: float = 0.5,
        gamma: float = 0.5,
        prob: float = 0.9,
    ):
        if min(gain, offset, saturation, gamma) < 0 or not 0 <= prob <= 1:
            raise ValueError(
                f"StainJitter: gain={gain}, offset={offset}, saturation={saturation}, "
                f"gamma={gamma}, prob={prob}; expected 0 or more of each, and at most "
                "1 for prob"
            )
        self.gain, self.offset, self.saturation = gain, offset, saturation
        self.gamma, self.prob = gamma, prob

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``; labels stay."""
        if np.random.random() < self.prob:
            results["img"] = change_stain(results["img"], self._draw())
        return results

    def _draw(self) -> StainChange:
        def around_one(width: float) -> float:
            return float(np.exp(np.random.uniform(-1, 1) * np.log1p(width)))

        return StainChange(
            gamma=around_one(self.gamma),
            gain=tuple(around_one(self.gain) for _ in range(3)),
            offset=tuple(np.random.uniform(-self.offset, self.offset, 3).tolist()),
            saturation=around_one(self.saturation),
        )

    def __repr__(self) -> str:
        return (
            f"StainJitter(gain={self.gain}, offset={self.offset}, "
            f"saturation={self.saturation}, gamma={self.gamma}, prob={self.prob})"
        )
