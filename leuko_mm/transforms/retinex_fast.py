"""MSRCR in single precision, its surrounds computed at reduced resolution.

A Gaussian of standard deviation sigma holds nothing finer than about sigma, so
each surround is taken on a grid a few times coarser than its sigma. What the box
average and the interpolation blur by themselves is subtracted from sigma.
``retinex_reference`` does the same by the textbook; tests hold the two together.
"""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.transforms.retinex_params import RetinexParams

# Pixels of the coarse grid per sigma; more is finer and slower.
GRID_PER_SIGMA = 4.0
# A surround is never taken on fewer points a side than this.
MIN_POINTS = 24


def coarse_size(side: int, sigma: float) -> int:
    """Return the points of the coarse grid along one side."""
    points = int(np.ceil(side * GRID_PER_SIGMA / sigma))
    return min(side, max(points, MIN_POINTS))


def coarse_surrounds(image: np.ndarray, sigmas: tuple[float, ...]) -> list[np.ndarray]:
    """Return the Gaussian surround of every sigma, each on its coarse grid.

    Borders are mirrored with the edge pixel repeated, as in the reference.

    Args:
        image: (H, W, C) or (H, W), float32.
        sigmas: standard deviations in pixels of ``image``.

    Shape:
        (H, W, C) -> list of (h, w, C), h <= H, w <= W.
    """
    height, width = image.shape[:2]
    source, found = image, {}
    # From fine to coarse, each grid is averaged down from the one before.
    for sigma in sorted(set(sigmas)):
        rows, columns = coarse_size(height, sigma), coarse_size(width, sigma)
        if (rows, columns) != source.shape[:2]:
            source = cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA)
        found[sigma] = cv2.GaussianBlur(
            source,
            (0, 0),
            sigmaX=_coarse_sigma(sigma, width / columns),
            sigmaY=_coarse_sigma(sigma, height / rows),
            borderType=cv2.BORDER_REFLECT,
        )
    return [found[sigma] for sigma in sigmas]


def _coarse_sigma(sigma: float, step: float) -> float:
    if step == 1:
        return sigma
    own = (step**2 - 1) / 12 + step**2 / 6  # box average, linear interpolation
    return float(np.sqrt(sigma**2 - own) / step)


def weighted_sum(
    maps: list[np.ndarray], weights: tuple[float, ...], height: int, width: int
) -> np.ndarray:
    """Return the weighted sum of coarse maps at (height, width), float32.

    The maps are summed on the finest of their grids, so that only one of them is
    ever enlarged to the whole image.
    """
    order = sorted(range(len(maps)), key=lambda k: maps[k].shape[:2])
    total = None
    for k in order:
        term = maps[k] * np.float32(weights[k])
        total = term if total is None else _enlarge(total, *term.shape[:2]) + term
    return _enlarge(total, height, width)


def _enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def surround_log(channels: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Return sum_k w_k log(G_k * S + 1), the illumination of MSR, as float32."""
    surrounds = coarse_surrounds(channels, params.sigmas)
    logs = [cv2.log(np.maximum(s, 0) + 1) for s in surrounds]
    return weighted_sum(logs, params.scale_weights, *channels.shape[:2])


def msrcr(channels: np.ndarray, total: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Return MSRCR (eq. 1 and 2) of channels in 0-255, before any stretch.

    Args:
        channels: (H, W, C) float32, the S_i.
        total: (H, W) float32, the sum over j of S_j + 1.
        params: the numbers to use.
    """
    # OpenCV drops a last axis of one.
    own_log = cv2.log(channels + 1).reshape(channels.shape)
    msr = own_log - surround_log(channels, params).reshape(channels.shape)
    restoration = own_log - cv2.log(total)[..., None] + np.float32(np.log(params.beta))
    return np.maximum(restoration, 0) * np.float32(params.alpha) * msr


def hue_cast(hue: np.ndarray, saturation: np.ndarray, params: RetinexParams):
    """Return the hue cast of the surround, in degrees from the anchor hue.

    See ``retinex_reference.hue_cast`` for what it means.

    Args:
        hue: (H, W) float32, degrees.
        saturation: (H, W) float32, 0-255.
        params: the numbers to use.
    """
    x, y = cv2.polarToCart(
        saturation, hue - np.float32(params.anchor_hue), angleInDegrees=True
    )
    casts = []
    for surround in coarse_surrounds(cv2.merge([x, y]), params.sigmas):
        magnitude = cv2.magnitude(surround[..., 0], surround[..., 1])
        casts.append(surround[..., 1] / (magnitude + np.float32(params.grey_floor)))
    cast = weighted_sum(casts, params.scale_weights, *hue.shape)
    return cast * np.float32(180 / np.pi)
