"""Lose sharpness the way focus, optics and cameras do."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomBlur(BaseTransform):
    """Blur an image and add noise to it, at random; labels stay.

    Args:
        sigma: largest deviation of the Gaussian blur, as a share of the side, so that
            it means the same at every size.
        noise: largest deviation of the noise, in grey levels.
        prob: probability of either, drawn apart.

    Raises:
        ValueError: if an amount is below 0, or the probability is none.

    Example:
        >>> same = RandomBlur(sigma=0, noise=0)
        >>> image = np.eye(8, dtype=np.uint8)[..., None].repeat(3, axis=2)
        >>> bool((same(dict(img=image))["img"] == image).all())
        True
    """

    def __init__(self, sigma: float = 0.012, noise: float = 4.0, prob: float = 0.4):
        if min(sigma, noise) < 0 or not 0 <= prob <= 1:
            raise ValueError(
                f"RandomBlur: sigma={sigma}, noise={noise}, prob={prob}; expected 0 or "
                "more, and 0 to 1 for prob"
            )
        self.sigma, self.noise, self.prob = sigma, noise, prob

    def transform(self, results: dict) -> dict:
        """Change ``results['img']``."""
        image = results["img"]
        sigma = np.random.uniform(0, self.sigma) * max(image.shape[:2])
        if np.random.random() < self.prob and sigma > 0.1:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
        level = np.random.uniform(0, self.noise)
        if np.random.random() < self.prob and level > 0:
            grain = np.random.normal(0, level, image.shape)
            image = np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)
        results["img"] = image
        return results

    def __repr__(self) -> str:
        return f"RandomBlur(sigma={self.sigma}, noise={self.noise}, prob={self.prob})"
