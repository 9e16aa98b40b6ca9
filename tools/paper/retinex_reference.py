"""AHE-Retinex by the textbook, for reading and for testing the fast path.

Double precision, Gaussians at full resolution, one function for each step of the
paper's Algorithm 1 and for each of its equations. It takes seconds for an image of
512 x 512 pixels; ``ahe_retinex`` is what everything uses.
"""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.transforms.retinex import FLAT_LEVEL, LEAST_RANGE, RetinexParams

KERNEL_REACH = 4  # standard deviations at which the Gaussian ends


def logarithm(channel: np.ndarray) -> np.ndarray:
    """Step 1: natural logarithm of a channel (H, W) in 0-255; 1 is added first."""
    return np.log(channel.astype(np.float64) + 1)


def surround(channel: np.ndarray, sigma: float) -> np.ndarray:
    """Step 2: convolve (H, W) with the Gaussian surround, borders mirrored.

    The mirror repeats the edge pixel, so the mean of the image is kept and a
    surround much wider than the image tends to that mean.
    """
    size = 2 * int(np.ceil(KERNEL_REACH * sigma)) + 1
    return cv2.GaussianBlur(
        channel.astype(np.float64),
        (size, size),
        sigmaX=sigma,
        sigmaY=sigma,
        borderType=cv2.BORDER_REFLECT,
    )


def reflection(channel: np.ndarray, sigma: float) -> np.ndarray:
    """Step 3: single-scale retinex, log S - log(G * S)."""
    return logarithm(channel) - logarithm(surround(channel, sigma))


def multiscale_retinex(channel: np.ndarray, params: RetinexParams) -> np.ndarray:
    """MSR: the weighted sum of step 3 over the scales."""
    terms = zip(params.sigmas, params.scale_weights, strict=True)
    return sum(weight * reflection(channel, sigma) for sigma, weight in terms)


def colour_restoration(
    channel: np.ndarray, total: np.ndarray, params: RetinexParams
) -> np.ndarray:
    """Eq. 2: alpha log(beta S_i / sum_j S_j), not below 0.

    Below 0 it would turn dark into bright wherever a channel holds less than
    1/beta of the sum.

    Args:
        channel: S_i, 0-255.
        total: the sum over j of S_j + 1.
        params: alpha and beta.
    """
    share = (channel.astype(np.float64) + 1) / total
    return np.maximum(params.alpha * np.log(params.beta * share), 0)


def msrcr(channel: np.ndarray, total: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Eq. 1: colour restoration times MSR."""
    return colour_restoration(channel, total, params) * multiscale_retinex(
        channel, params
    )


def stretch_range(channel: np.ndarray, params: RetinexParams) -> tuple[float, float]:
    """Return the values of MSRCR that step 4 sends to 0 and to 255."""
    if params.stretch == "fixed":
        return -params.offset / params.gain, (255 - params.offset) / params.gain
    if params.stretch == "min_max":
        return float(channel.min()), float(channel.max())
    if params.stretch == "percentile":
        at = 100 * params.stretch_at
        low, high = np.percentile(channel, (at, 100 - at))
        return float(low), float(high)
    mean, spread = channel.mean(), params.stretch_at * channel.std()
    return float(mean - spread), float(mean + spread)


def stretch(channel: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Step 4: bring MSRCR to 0-255. A flat channel becomes a flat mid-grey."""
    low, high = stretch_range(channel, params)
    if high - low < LEAST_RANGE:
        return np.full_like(channel, FLAT_LEVEL)
    return np.clip((channel - low) * (255 / (high - low)), 0, 255)


def hue_cast(
    hue: np.ndarray, saturation: np.ndarray, params: RetinexParams
) -> np.ndarray:
    """Return the hue cast of the surround, in degrees away from the anchor hue.

    Hue is an angle: 359 degrees and 1 degree are neighbours, and red cells lie on
    that very cut. So neither may it be averaged as a number nor may its logarithm
    be taken. Step 2 therefore blurs the arrow S exp(i (H - anchor)), in which grey
    pixels do not vote, and step 3 subtracts angles: log exp(iH) - log exp(iH') is
    i (H - H').

    The angle of a short arrow is noise, and it jumps when the arrow passes through
    0. Its sine, damped, does neither: y / (|arrow| + grey floor), in radians. A
    small cast is removed as it is, a large one by at most 57 degrees, and an image
    without colour has none.

    Args:
        hue: (H, W), degrees.
        saturation: (H, W), 0-255.
        params: scales, weights, ``anchor_hue`` and ``grey_floor``.
    """
    angle = np.deg2rad(hue - params.anchor_hue)
    x, y = saturation * np.cos(angle), saturation * np.sin(angle)
    cast = np.zeros(hue.shape)
    for sigma, weight in zip(params.sigmas, params.scale_weights, strict=True):
        blurred_x, blurred_y = surround(x, sigma), surround(y, sigma)
        length = np.hypot(blurred_x, blurred_y)
        cast += weight * blurred_y / (length + params.grey_floor)
    return np.rad2deg(cast)


def tile_curve(tile: np.ndarray, clip_limit: float) -> np.ndarray:
    """Return the curve (256,) that equalises one tile, its histogram clipped."""
    counts = np.bincount(np.rint(tile).astype(int).ravel(), minlength=256)
    limit = clip_limit * tile.size / 256
    excess = np.maximum(counts - limit, 0).sum()
    return np.cumsum(np.minimum(counts, limit) + excess / 256) * (255 / tile.size)


def equalise(value: np.ndarray, params: RetinexParams) -> np.ndarray:
    """AHE, contrast limited, on V (H, W) 0-255.

    Every pixel is sent through the curves of the four tiles whose centres surround
    it, between two whole grey levels where it is not one, and the results are mixed
    by distance.
    """
    (height, width), (rows, columns) = value.shape, params.grid_for(*value.shape)
    tiles = [
        np.array_split(band, [round(j * width / columns) for j in range(1, columns)], 1)
        for band in np.array_split(
            value, [round(i * height / rows) for i in range(1, rows)], 0
        )
    ]
    curves = np.array(
        [[tile_curve(t, params.clip_limit) for t in row] for row in tiles]
    )
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)[:, None]
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    out = np.zeros(value.shape)
    for i, weight_i in _two_nearest(y):
        for j, weight_j in _two_nearest(x):
            for level, weight in _two_nearest(value):
                i_in, j_in = np.minimum(i, rows - 1), np.minimum(j, columns - 1)
                curve = curves[i_in, j_in, np.minimum(level, 255)]
                out += weight_i * weight_j * weight * curve
    return out


def _two_nearest(position: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the whole numbers below and above, each with its linear weight."""
    below = np.floor(position).astype(int)
    return [(below, 1 - (position - below)), (below + 1, position - below)]


def rgb_to_hsv(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return H in degrees, S and V in 0-255 of an RGB image 0-255."""
    red, green, blue = (image[..., i].astype(np.float64) for i in range(3))
    value = image.max(axis=2).astype(np.float64)
    spread = value - image.min(axis=2)
    safe = np.where(spread > 0, spread, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = np.where(spread > 0, 60 * hue, 0) % 360
    return hue, 255 * spread / np.where(value > 0, value, 1), value


def hsv_to_rgb(
    hue: np.ndarray, saturation: np.ndarray, value: np.ndarray
) -> np.ndarray:
    """Return RGB, (H, W, 3) float64 in 0-255; hue in degrees, any turn."""
    planes = []
    for n in (5, 3, 1):
        k = (n + hue / 60) % 6
        dip = np.clip(np.minimum(k, 4 - k), 0, 1)
        planes.append(value * (1 - saturation / 255 * dip))
    return np.stack(planes, axis=2)


def restored_channels(
    image: np.ndarray, reading: str, params: RetinexParams
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three channels after MSRCR and stretch, before AHE, 0-255.

    R, G, B for the reading ``rgb``; H (255 is a full turn), S and V otherwise.
    """
    if reading == "rgb":
        channels = [image[..., i].astype(np.float64) for i in range(3)]
        total = sum(channels) + 3
        return tuple(stretch(msrcr(c, total, params), params) for c in channels)
    hue, saturation, value = rgb_to_hsv(image)
    # Grey pixels have no hue to show: what MSRCR makes of their saturation is kept
    # in proportion to how much of it there was.
    gate = saturation / (saturation + params.grey_floor)
    if reading == "hsv":
        # An angle has no amount: in the sum of eq. 2 it counts half its range.
        total = saturation + value + 127.5 + 3
        hue = hue - hue_cast(hue, saturation, params)
        saturation = stretch(msrcr(saturation, total, params), params) * gate
        return hue % 360 * (255 / 360), saturation, value
    # Eq. 2 needs hue as a number: it is cut open opposite to the stains.
    cut = params.anchor_hue - 180
    number = (hue - cut) % 360 * (255 / 360)
    total = number + saturation + value + 3
    number, saturation, value = (
        stretch(msrcr(c, total, params), params) for c in (number, saturation, value)
    )
    return (number + cut * (255 / 360)) % 255, saturation * gate, value


def ahe_retinex_reference(
    image: np.ndarray, *, reading: str, params: RetinexParams
) -> np.ndarray:
    """Return what ``ahe_retinex`` returns, computed by the textbook.

    Args:
        image: (H, W, 3) uint8 RGB.
        reading: ``hsv``, ``hsv_all`` or ``rgb``.
        params: the numbers to use.
    """
    channels = restored_channels(image, reading, params)
    if reading == "rgb":
        # Changing V alone multiplies R, G and B by one factor; black stays black.
        rgb = np.stack(channels, axis=2)
        value = rgb.max(axis=2)
        rgb = rgb * (equalise(value, params) / np.maximum(value, 1))[..., None]
    else:
        hue, saturation, value = channels
        rgb = hsv_to_rgb(hue * (360 / 255), saturation, equalise(value, params))
    return np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)
