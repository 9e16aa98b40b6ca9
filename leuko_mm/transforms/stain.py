"""Vary stain and light, the way slides and microscopes differ from one another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
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
        density: share of the images that get the wider change of ``DensityJitter``
            instead.

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
        density: float = 0.0,
    ):
        amounts = (gain, offset, saturation, gamma, prob, density)
        if min(amounts) < 0 or max(prob, density) > 1:
            raise ValueError(
                f"StainJitter: gain={gain}, offset={offset}, saturation={saturation}, "
                f"gamma={gamma}, prob={prob}, density={density}; expected 0 or more of "
                "each, and at most 1 for prob and density"
            )
        self.gain, self.offset, self.saturation = gain, offset, saturation
        self.gamma, self.prob, self.density = gamma, prob, density
        self._wider = DensityJitter()

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``; labels stay."""
        # Without a share nothing is drawn: the other changes stay as they were.
        if self.density and np.random.random() < self.density:
            return self._wider.transform(results)
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
            f"saturation={self.saturation}, gamma={self.gamma}, prob={self.prob}, "
            f"density={self.density})"
        )


# A bright pixel is taken as a little less than black and white, for the logarithm.
DARKEST, BRIGHTEST = 4.0, 259.0


@TRANSFORMS.register_module()
class DensityJitter(BaseTransform):
    """Change dyes, lamp and camera of an image at random, as laboratories differ.

    Dyes change optical densities: their strength, and how much of a channel's density
    another one gets. The lamp changes the white, the camera saturation, hue and
    exponent. All amounts are standard deviations, most of them of a logarithm.

    Args:
        strength: of all dyes together.
        channel: of every channel's density.
        mix: of the share of a channel's density that goes into another channel.
        white: of every channel of the background.
        gamma: of the exponent.
        hue: of the turn of the hue, in degrees, for ``rare`` of the images.
        rare: share of the images that get another hue, and of those that become grey.

    Raises:
        ValueError: if an argument is negative, or a share above 1.
    """

    def __init__(
        self,
        strength: float = 0.44,
        channel: float = 0.3,
        mix: float = 0.2,
        white: float = 0.3,
        gamma: float = 0.5,
        hue: float = 24.0,
        rare: float = 0.3,
    ):
        self.amounts = dict(strength=strength, channel=channel, mix=mix, white=white)
        self.amounts |= dict(gamma=gamma, hue=hue, rare=rare)
        if min(self.amounts.values()) < 0 or rare > 1:
            raise ValueError(
                f"DensityJitter: {self.amounts}; expected 0 or more of each, and at "
                "most 1 for rare"
            )

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``, BGR uint8; labels stay."""
        a, normal = self.amounts, np.random.normal
        image = results["img"].astype(np.float32)
        density = -np.log((image + DARKEST) / BRIGHTEST)
        density = density @ np.float32(np.eye(3) + normal(0, a["mix"], (3, 3)))
        gains = np.exp(normal(0, a["strength"]) + normal(0, a["channel"], 3))
        white = np.clip(np.exp(normal(-0.1, a["white"], 3)), 0.5, 1.2)
        image = BRIGHTEST * np.exp(-np.maximum(density * np.float32(gains), 0))
        image = image * np.float32(white) - DARKEST
        if np.random.random() < 0.5:
            grey = image @ np.float32([0.1, 0.6, 0.3])
            saturation = np.random.uniform(0.3, 1.5)
            image = grey[..., None] + (image - grey[..., None]) * saturation
        if np.random.random() < a["rare"]:
            grey = image @ np.float32([0.15, 0.6, 0.25])
            image = np.repeat(grey[..., None], 3, axis=2)
        exponent = np.exp(normal(0, a["gamma"]))
        image = 255 * np.clip(image / 255, 0, 1) ** np.float32(exponent)
        image = image.astype(np.uint8)
        if np.random.random() < a["rare"]:
            # OpenCV keeps hues in steps of two degrees.
            hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.int32)
            hsv[..., 0] = (hsv[..., 0] + round(normal(0, a["hue"]) / 2)) % 180
            image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)
        results["img"] = image
        return results

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={value}" for key, value in self.amounts.items())
        return f"DensityJitter({given})"
