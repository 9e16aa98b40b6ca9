"""Turn, mirror, scale and shift a cell inside its tile."""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from leuko_mm.registry import TRANSFORMS


def affine_about_centre(
    size: tuple[int, int],
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> np.ndarray:
    """Return the (2, 3) matrix that maps input to output pixel coordinates.

    Args:
        size: (height, width) in pixels.
        degrees: counter-clockwise turn.
        scale: above 1 enlarges.
        shift: (x, y) in pixels, after turning and scaling.
        mirror: flip left and right first.
    """
    height, width = size
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    if mirror:
        flip = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        matrix = matrix @ flip
    matrix[:, 2] += shift
    return matrix


@TRANSFORMS.register_module()
class RandomCellAffine(BaseTransform):
    """Turn by any angle, mirror, scale and shift an image with its labels.

    Leukocytes have no upright position. What moves in from outside the image is its
    own reflection, in image and labels alike, so that no artificial border appears.

    Args:
        scale: (smallest, largest) factor.
        shift: largest shift along each axis, as a fraction of the side.
        turn: largest turn in degrees, to either side.
        prob: probability of any change.
        mirror: probability of a mirror image, where there is a change.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.85, 1.15),
        shift: float = 0.08,
        turn: float = 180.0,
        prob: float = 1.0,
        mirror: float = 0.5,
    ):
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be (smallest, largest) above 0, got {scale}")
        fractions = (shift, prob, mirror)
        if turn < 0 or min(fractions) < 0 or max(fractions) > 1:
            raise ValueError(
                f"RandomCellAffine: shift={shift}, turn={turn}, prob={prob}, "
                f"mirror={mirror}; expected degrees of 0 or more, and 0 to 1 for the "
                "others"
            )
        self.scale, self.shift, self.turn = scale, shift, turn
        self.prob, self.mirror = prob, mirror

    def transform(self, results: dict) -> dict:
        """Change ``img`` and every label map named in ``seg_fields``."""
        if np.random.random() >= self.prob:
            return results
        height, width = results["img"].shape[:2]
        matrix = affine_about_centre(
            (height, width),
            degrees=np.random.uniform(-self.turn, self.turn),
            scale=np.random.uniform(*self.scale),
            shift=tuple(
                np.random.uniform(-self.shift, self.shift, 2) * (width, height)
            ),
            mirror=np.random.random() < self.mirror,
        )
        results["img"] = self._warp(results["img"], matrix, cv2.INTER_LINEAR)
        for key in results.get("seg_fields", ()):
            results[key] = self._warp(results[key], matrix, cv2.INTER_NEAREST)
        return results

    @staticmethod
    def _warp(array: np.ndarray, matrix: np.ndarray, interpolation: int) -> np.ndarray:
        size = array.shape[1::-1]
        return cv2.warpAffine(
            array, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT_101
        )

    def __repr__(self) -> str:
        return (
            f"RandomCellAffine(scale={self.scale}, shift={self.shift}, "
            f"turn={self.turn}, prob={self.prob}, mirror={self.mirror})"
        )
