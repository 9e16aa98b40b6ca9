"""Vary focus, sharpening, noise and compression, the way cameras differ."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS

# Lengths below a tenth of a pixel change no grey level.
LEAST_SIGMA = 0.1


@dataclass(frozen=True)
class CameraChange:
    """One change: blur, sharpening and its radius, noise and its grain, JPEG quality.

    Lengths are in pixels, noise in grey levels; quality 100 stores nothing.
    """

    blur: float = 0.0
    sharpen: float = 0.0
    radius: float = 1.0
    noise: float = 0.0
    grain: float = 0.0
    quality: int = 100


def change_camera(
    image: np.ndarray, change: CameraChange, noise: np.ndarray | None = None
) -> np.ndarray:
    """Apply blur, unsharp masking, noise, and JPEG there and back.

    Args:
        image: RGB or BGR.
        change: 0 of an amount leaves it out.
        noise: standard normal numbers of the image's shape; needed where
            ``change.noise`` is not 0.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.
    """
    changed = image.astype(np.float32)
    if change.blur > LEAST_SIGMA:
        changed = cv2.GaussianBlur(changed, (0, 0), change.blur)
    if change.sharpen > 0:
        soft = cv2.GaussianBlur(changed, (0, 0), max(change.radius, LEAST_SIGMA))
        changed = changed + change.sharpen * (changed - soft)
    if change.noise > 0:
        changed = changed + change.noise * _coarse(np.float32(noise), change.grain)
    changed = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    if change.quality < 100:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(change.quality)]
        stored = cv2.imencode(".jpg", changed, quality)[1]
        changed = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    return changed


@TRANSFORMS.register_module()
class CameraJitter(BaseTransform):
    """Vary blur, sharpening, noise and compression of an image at random.

    Args:
        sigma: largest deviation of the Gaussian blur, and largest radius of sharpening,
            as a share of the side, so that it means the same at every size.
        sharpen: largest amount of unsharp masking.
        noise: largest deviation of the noise, in grey levels.
        grain: largest deviation of the blur that makes noise coarse, as ``sigma``.
        quality: least JPEG quality, 1 to 100; 100 stores nothing.
        prob: probability of each of the four, drawn apart.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        sigma: float = 0.006,
        sharpen: float = 2.0,
        noise: float = 15.0,
        grain: float = 0.002,
        quality: int = 40,
        prob: float = 0.4,
    ):
        amounts = (sigma, sharpen, noise, grain)
        if min(amounts) < 0 or not 1 <= quality <= 100 or not 0 <= prob <= 1:
            raise ValueError(
                f"CameraJitter: sigma={sigma}, sharpen={sharpen}, noise={noise}, "
                f"grain={grain}, quality={quality}, prob={prob}; expected 0 or more, 1 "
                "to 100 for quality, and 0 to 1 for prob"
            )
        self.sigma, self.sharpen, self.noise = sigma, sharpen, noise
        self.grain, self.quality, self.prob = grain, quality, prob

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``; labels stay."""
        image = results["img"]
        change = self._draw(max(image.shape[:2]))
        noise = np.random.standard_normal(image.shape) if change.noise else None
        results["img"] = change_camera(image, change, noise)
        return results

    def _draw(self, side: int) -> CameraChange:
        def amount_or_none(largest: float) -> float:
            drawn = np.random.uniform(0, largest)
            return drawn if np.random.random() < self.prob else 0.0

        return CameraChange(
            blur=amount_or_none(self.sigma) * side,
            sharpen=amount_or_none(self.sharpen),
            radius=np.random.uniform(0, self.sigma) * side,
            noise=amount_or_none(self.noise),
            grain=np.random.uniform(0, self.grain) * side,
            quality=100 - round(amount_or_none(100 - self.quality)),
        )

    def __repr__(self) -> str:
        return (
            f"CameraJitter(sigma={self.sigma}, sharpen={self.sharpen}, "
            f"noise={self.noise}, grain={self.grain}, quality={self.quality}, "
            f"prob={self.prob})"
        )


@TRANSFORMS.register_module()
class OtherCamera(BaseTransform):
    """Apply one fixed blur, sharpening, noise and compression, to test a network.

    Args:
        **change: of ``CameraChange``, lengths in pixels. The noise is drawn from a seed
            of its own and is the same in every image of a size.

    Raises:
        TypeError: if there is no such change.
    """

    def __init__(self, **change: float):
        self.change = CameraChange(**change)

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``; labels stay."""
        image, draw = results["img"], np.random.default_rng(0).standard_normal
        noise = draw(image.shape) if self.change.noise else None
        results["img"] = change_camera(image, self.change, noise)
        return results

    def __repr__(self) -> str:
        return f"OtherCamera({self.change})"


def _coarse(noise: np.ndarray, grain: float) -> np.ndarray:
    """Return noise whose neighbours agree over ``grain`` pixels, of deviation 1."""
    if grain <= LEAST_SIGMA:
        return noise
    soft = cv2.GaussianBlur(noise, (0, 0), grain)
    return soft / max(float(soft.std()), 1e-6)
