"""AHE-Retinex as pure functions: equalisation, one window, and images of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from leuko_mm.transforms.retinex import READINGS, RetinexParams, bands, restored_planes

LEVELS = 256


def adaptive_equalisation(
    plane: np.ndarray, *, clip_limit: float, grid: tuple[int, int]
) -> np.ndarray:
    """Equalise the histogram of each tile and blend the tiles' curves (CLAHE).

    OpenCV's algorithm and parameters, made nearly continuous: an input that changes by
    a twentieth of a grey level moves the output by about one level at most. OpenCV
    rounds grey levels and gives the rest of the clipped counts to the lowest bins, so
    that one pixel may move a whole tile by a dozen levels. Here clipped counts are
    shared as fractions, and no border is added to make tiles equal.

    Args:
        plane: grey levels 0-255, not necessarily whole.
        clip_limit: most counts of a bin, in units of the mean count of a bin.
        grid: tiles (rows, columns).

    Shape:
        (H, W) float32 -> (H, W) float32.

    Reference:
        Zuiderveld, Contrast limited adaptive histogram equalization, 1994.
        Differs: clipped counts are shared once, as in OpenCV, not repeatedly.
    """
    curves = tile_curves(plane, clip_limit, grid)
    height, width = plane.shape
    rows, columns = grid
    at_row = _tile_position(height, rows)
    # One map of (grey level, tile column) serves every strip of rows.
    at_column = _tile_position(width, columns)
    out = np.empty_like(plane)
    for upper in range(max(rows - 1, 1)):
        strip = np.flatnonzero(
            np.minimum(at_row.astype(int), max(rows - 2, 0)) == upper
        )
        if strip.size == 0:
            continue
        part = slice(strip[0], strip[-1] + 1)
        levels = plane[part]
        places = np.broadcast_to(at_column, levels.shape).copy()
        above = _look_up(curves[upper], levels, places)
        if rows == 1:
            out[part] = above
            continue
        below = _look_up(curves[upper + 1], levels, places)
        below -= above
        below *= (at_row[part] - upper)[:, None]
        np.add(above, below, out=out[part])
    return out


def tile_curves(
    plane: np.ndarray, clip_limit: float, grid: tuple[int, int]
) -> np.ndarray:
    """Return each tile's grey-level curve, (rows, columns, 256) float32 in 0-255."""
    rows, columns = grid
    height, width = plane.shape
    whole = cv2.add(plane, (0, 0, 0, 0), dtype=cv2.CV_8U)
    tops = [round(i * height / rows) for i in range(rows + 1)]
    lefts = [round(j * width / columns) for j in range(columns + 1)]
    column = np.repeat(np.arange(columns, dtype=np.uint8), np.diff(lefts))
    column = np.broadcast_to(column, (max(np.diff(tops)), width)).copy()
    counts = []
    for top, end in pairwise(tops):
        # The second "channel" is the tile: one call counts a row of tiles.
        pair = [whole[top:end], column[: end - top]]
        size, ends = [LEVELS, columns], [0, LEVELS, 0, columns]
        counts.append(cv2.calcHist(pair, [0, 1], None, size, ends).T)
    counts = np.concatenate(counts).astype(np.float64)
    area = counts.sum(axis=1, keepdims=True)
    clipped = np.minimum(counts, clip_limit * area / LEVELS)
    clipped += (area - clipped.sum(axis=1, keepdims=True)) / LEVELS
    curves = np.cumsum(clipped, axis=1) * ((LEVELS - 1) / area)
    return curves.astype(np.float32).reshape(rows, columns, LEVELS)


def _tile_position(side: int, tiles: int) -> np.ndarray:
    """Return where each pixel lies between tile centres, 0 at the first of them."""
    position = (np.arange(side) + 0.5) * (tiles / side) - 0.5
    return np.clip(position, 0, tiles - 1).astype(np.float32)


def _look_up(curves: np.ndarray, levels: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate (columns, 256) curves at the given levels and tile columns."""
    return cv2.remap(
        curves, levels, columns, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


DEFAULTS = RetinexParams()
# OpenCV's remap takes no longer sides.
LARGEST_SIDE = 32766


def as_rgb_uint8(image: np.ndarray) -> np.ndarray:
    """Return an image as (H, W, 3) uint8, or refuse it by this table.

    ======================= ==================================================
    given                   becomes
    ======================= ==================================================
    (H, W, 3) uint8         itself, no copy
    (H, W), (H, W, 1)       grey, repeated on three channels
    (H, W, 4)               without its alpha, if that is opaque everywhere;
                            else refused: the background is not known
    uint16                  divided by 257 and rounded; refused if nearly all
                            values are at most 4095 (but for 5 %, or a third that
                            is white): 10 or 12 bits, which would come out black
    float16, 32, 64         times 255 and rounded; refused outside 0 to 1, and
                            for NaN or infinity
    other types, other      refused
    shapes, no pixels
    ======================= ==================================================

    Raises:
        ValueError: where the table says refused.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"expected an image as a numpy array, got {type(image).__name__}"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ValueError(
            f"expected an image of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) "
            f"with at least one pixel, got {image.shape}"
        )
    image = _as_uint8(image)
    if image.shape[2] == 4:
        if image[..., 3].min() < 255:
            raise ValueError(
                "the image has transparent pixels (alpha below 255): lay it on its "
                "background first and pass RGB"
            )
        image = image[..., :3]
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image)


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        # Alpha, where there is one, says nothing about the depth of the colours.
        colours = image[..., :3]
        low = (colours > 0) & (colours <= 4095)
        white = np.count_nonzero(colours == 65535)
        high = np.count_nonzero(colours > 4095) - white
        # Hot pixels are few, and a scale bar or a banner is a small part; a white
        # background is not.
        if np.count_nonzero(low) > 19 * high + 2 * white:
            top = int(colours[low].max())
            but = " but for white or a few bright pixels" if colours.max() > top else ""
            raise ValueError(
                f"the 16-bit image has no value above {top}{but}: it seems to hold "
                "10 or 12 bits; bring it to the full 16-bit range, or to 8 bits, first"
            )
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ValueError(
                f"expected a float image within 0 to 1, got {low:g} to {high:g}: "
                "scale it, or pass uint8"
            )
        return np.rint(image * 255).astype(np.uint8)
    raise ValueError(
        f"expected an image of type uint8, uint16 or float, got {image.dtype}"
    )


def ahe_retinex(
    image: np.ndarray, *, reading: str = "hsv", params: RetinexParams = DEFAULTS
) -> np.ndarray:
    """Balance the colours of a smear and sharpen its features, as one window.

    Multiscale retinex with colour restoration (MSRCR) discounts the light and
    stain around each pixel; adaptive histogram equalisation (AHE, the
    contrast-limited kind) then works on the value V of HSV.

    Args:
        image: RGB; ``as_rgb_uint8`` lists what else is taken, and what is not.
        reading: ``hsv`` MSRCR on H and S, AHE on V (the paper's conclusion);
            ``hsv_all`` MSRCR on H, S and V, then AHE on V (its eq. 2);
            ``rgb`` MSRCR on R, G and B, then AHE on V (its Algorithm 1).
        params: scales, constants and stretch.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: for an image that ``as_rgb_uint8`` refuses, one with a side
            above 32,766 pixels (OpenCV's limit), or an unknown reading.

    Reference:
        The paper, section 2.1 and Algorithm 1; Rahman, Jobson and Woodell on
        MSRCR. Differs: hue is treated as an angle (``hsv``) or cut opposite to
        the stains (``hsv_all``); grey pixels stay grey; the colour restoration
        does not go below 0; the output stretch is fixed by default; hue takes no
        colour restoration in ``hsv``, since an angle times a factor would tear
        the circle open. docs/reproduce.md gives the reasons.
    """
    image = as_rgb_uint8(image)
    if max(image.shape[:2]) > LARGEST_SIDE:
        raise ValueError(
            f"{image.shape[0]} x {image.shape[1]} pixels are too many for one window "
            f"(at most {LARGEST_SIDE} a side): use enhance_image"
        )
    if reading not in READINGS:
        raise ValueError(
            f"unknown AHE-Retinex reading {reading!r}; expected one of: "
            f"{', '.join(READINGS)}"
        )
    planes = restored_planes(image, reading, params)
    if reading == "rgb":
        return equalise_planes(planes, params)
    hue, saturation, value = planes
    value = equalise(value, params)
    restored = np.empty_like(image)
    for rows in bands(value.shape):
        degrees = hue[rows] * np.float32(360 / 255)
        hsv = cv2.merge([degrees, saturation[rows] * (1 / 255), value[rows]])
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        cv2.add(rgb, (0, 0, 0, 0), dst=restored[rows], dtype=cv2.CV_8U)
    return restored


def equalise(value: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Return V (H, W) float32 after AHE."""
    return adaptive_equalisation(
        value, clip_limit=params.clip_limit, grid=params.grid_for(*value.shape)
    )


def equalise_planes(planes: Sequence[np.ndarray], params: RetinexParams) -> np.ndarray:
    """Equalise the V of three colour planes and scale them to the new V.

    Shape:
        three planes (H, W) float32 in 0-255 -> (H, W, 3) uint8.
    """
    value = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    equalised = equalise(value, params)
    colours = np.empty((*value.shape, len(planes)), np.uint8)
    for rows in bands(value.shape):
        # One factor on R, G and B changes V and leaves H and S alone.
        factor = equalised[rows] / cv2.max(value[rows], 1)
        colours[rows] = cv2.merge(
            [cv2.multiply(plane[rows], factor, dtype=cv2.CV_8U) for plane in planes]
        )
    return colours


def enhance_image(
    image: np.ndarray,
    *,
    window: int = 256,
    overlap: int = 64,
    reading: str = "hsv",
    params: RetinexParams = DEFAULTS,
) -> np.ndarray:
    """Enhance an image of any size by windows, so that a field treats cells alike.

    An image no larger than the window is one window. Anything larger is covered by
    equal windows that overlap, and the results are faded into each other. Beside the
    output, only one row of windows is in memory.

    Args:
        image: RGB at the model's scale; see ``as_rgb_uint8`` for other kinds.
        window: side of a window in pixels.
        overlap: least overlap of neighbouring windows in pixels.
        reading: see ``ahe_retinex``.
        params: see ``ahe_retinex``.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: if the image is refused, or the window or overlap does not fit.
    """
    image = as_rgb_uint8(image)
    enhance = partial(ahe_retinex, reading=reading, params=params)
    return in_windows(image, enhance, window=window, overlap=overlap)


def in_windows(
    image: np.ndarray,
    enhance: Callable[[np.ndarray], np.ndarray],
    *,
    window: int = 256,
    overlap: int = 64,
) -> np.ndarray:
    """Apply a function of one window to an image of any size, see ``enhance_image``.

    Args:
        image: uint8 RGB.
        enhance: from (h, w, 3) uint8 to the same shape and type; h, w <= window.
        window: side of a window in pixels.
        overlap: least overlap of neighbouring windows in pixels.

    Shape:
        (H, W, 3) uint8 -> (H, W, 3) uint8.

    Raises:
        ValueError: if the window or overlap does not fit.
    """
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"window={window}, overlap={overlap}: expected a window of at least 1 "
            "pixel and an overlap of at least 0 that is smaller than the window"
        )
    height, width = image.shape[:2]
    if height <= window and width <= window:
        return enhance(image)
    tops = window_starts(height, window, overlap)
    lefts = window_starts(width, window, overlap)
    rows, columns = min(window, height), min(window, width)
    fades_y, fades_x = window_weights(tops, rows), window_weights(lefts, columns)
    out = np.empty_like(image)
    band = np.zeros((rows, width, 3), np.float32)
    for i, top in enumerate(tops):
        for left, fade_x in zip(lefts, fades_x, strict=True):
            place = slice(left, left + columns)
            piece = enhance(image[top : top + rows, place])
            weight = cv2.merge([np.outer(fades_y[i], fade_x)] * 3)
            band[:, place] += cv2.multiply(piece, weight, dtype=cv2.CV_32F)
        done = rows if i == len(tops) - 1 else tops[i + 1] - top
        out[top : top + done] = cv2.add(band[:done], (0, 0, 0, 0), dtype=cv2.CV_8U)
        band[: rows - done] = band[done:].copy()
        band[rows - done :] = 0
    return out


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Return where the windows start along one side: evenly, covering all of it."""
    if length <= window:
        return [0]
    gaps = -(-(length - window) // (window - overlap))
    return [round(i * (length - window) / gaps) for i in range(gaps + 1)]


def window_weights(
    starts: list[int], size: int, *, margin: int = 0
) -> list[np.ndarray]:
    """Return each window's weights (size,); at every pixel they sum to 1.

    A window fades in and out along its overlap with its neighbours, but for the
    outermost ``margin`` pixels, which do not count.
    """
    centre = np.arange(size) + 0.5
    weights = [np.ones(size) for _ in starts]
    for i, (start, after) in enumerate(pairwise(starts)):
        shared = start + size - after
        if shared > 0:
            # At least one pixel of fading, where the margin is half of the overlap.
            fade_in = np.clip((centre - margin) / max(shared - 2 * margin, 1), 0, 1)
            weights[i + 1] = np.minimum(weights[i + 1], fade_in)
            weights[i] = np.minimum(weights[i], fade_in[::-1])
    total = np.zeros(starts[-1] + size)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    return [
        (weight / total[start : start + size]).astype(np.float32)
        for start, weight in zip(starts, weights, strict=True)
    ]
