"""Multi-scale Retinex with colour restoration, at reduced resolution.

A Gaussian of standard deviation sigma holds nothing much finer than sigma, so each
surround is taken on a coarser grid; what averaging and interpolation blur is taken off
sigma. Single planes are several times faster than interleaved channels. Tests compare
it with the textbook, ``tools/paper/retinex_reference.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

READINGS = ("hsv", "hsv_all", "rgb")
STRETCHES = ("fixed", "min_max", "percentile", "mean_std")
# A channel whose MSRCR has a smaller range is flat; an image-driven stretch gives it
# this grey level.
LEAST_RANGE, FLAT_LEVEL = 1e-3, 127.5
# Pixels of the coarse grid per sigma, and its least number of points a side:
# more is closer to the reference and slower.
GRID_PER_SIGMA = 4.5
# The grids of wide surrounds are so small that finer ones cost nothing.
WIDE_SIGMA, GRID_PER_WIDE_SIGMA = 40, 6
LEAST_POINTS = 8
# What is done pixel by pixel is done in bands whose planes stay in the cache.
BAND_PIXELS = 65536


@dataclass(frozen=True)
class RetinexParams:
    """The numbers of AHE-Retinex; lengths are pixels at the model's scale.

    The default stretch is fixed (``offset + gain * MSRCR``), so that a cell keeps its
    colours when its neighbours change. The other stretches depend on the image, and
    undo any gain and offset.

    Args:
        sigmas: standard deviations of the Gaussian surrounds, in pixels.
        weights: one weight a surround, summing to 1; None for equal weights.
        alpha: factor outside the logarithm of the colour restoration (eq. 2).
        beta: factor inside that logarithm.
        gain: multiplies MSRCR before the fixed stretch.
        offset: grey level 0-255 that MSRCR 0 is given by the fixed stretch.
        stretch: ``fixed``; ``min_max``; ``percentile`` (clips the share
            ``stretch_at`` at either end); ``mean_std`` (mean +- ``stretch_at``
            standard deviations). All act per channel.
        stretch_at: see ``stretch``; unused by ``fixed`` and ``min_max``.
        clip_limit: CLAHE's limit on V, as OpenCV counts it.
        grid: CLAHE tiles (rows, columns) of a full window.
        min_tile: least side of a CLAHE tile in pixels: smaller windows get fewer
            tiles, not smaller ones (8 x 8 tiles on 256 px are 32 px each).
        anchor_hue: hue in degrees that a colour cast is moved to.
        grey_floor: saturation 0-255 under which a hue counts as noise.

    Raises:
        ValueError: if a number lies outside its range.

    Reference:
        Paper sections 2.1 and 5 for alpha, beta and the readings. Differs: it
        states neither scales, gain, offset, stretch nor the parameters of AHE.
    """

    sigmas: tuple[float, ...] = (15.0, 80.0, 250.0)
    weights: tuple[float, ...] | None = None
    alpha: float = 46.0
    beta: float = 125.0
    gain: float = 1.0
    offset: float = 128.0
    stretch: str = "fixed"
    stretch_at: float = 0.01
    clip_limit: float = 2.0
    grid: tuple[int, int] = (8, 8)
    min_tile: int = 32
    anchor_hue: float = 300.0
    grey_floor: float = 16.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", tuple(float(s) for s in self.sigmas))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))
        object.__setattr__(self, "grid", tuple(int(g) for g in self.grid))
        for name, expected, holds in self._rules():
            if not holds:
                value = getattr(self, name)
                raise ValueError(f"RetinexParams {name}={value!r}: expected {expected}")

    def _rules(self) -> list[tuple[str, str, bool]]:
        """Return (field, what is expected, whether it holds)."""
        sigmas_fit = min(self.sigmas, default=0) >= 1
        weights = self.scale_weights if self.sigmas else ()
        weights_fit = (
            len(weights) == len(self.sigmas)
            and min(weights, default=-1) >= 0
            and abs(sum(weights) - 1) < 1e-6
        )
        grid_fits = len(self.grid) == 2 and min(self.grid) >= 1
        one_weight_each = "None or one non-negative weight a sigma, summing to 1"
        top = 0.5 if self.stretch == "percentile" else 100.0
        stretch_at_fits = 0 < self.stretch_at < top
        stretches = ", ".join(STRETCHES)
        return [
            ("sigmas", "one or more lengths of at least 1 pixel", sigmas_fit),
            ("weights", one_weight_each, weights_fit),
            *(
                (name, "a number above 0", getattr(self, name) > 0)
                for name in ("alpha", "beta", "gain", "clip_limit")
            ),
            ("stretch", f"one of {stretches}", self.stretch in STRETCHES),
            ("stretch_at", f"a number above 0 and below {top}", stretch_at_fits),
            ("grid", "two whole numbers of at least 1", grid_fits),
            ("min_tile", "at least 1", self.min_tile >= 1),
            ("grey_floor", "at least 1", self.grey_floor >= 1),
        ]

    @property
    def scale_weights(self) -> tuple[float, ...]:
        """The weights in use, one a sigma."""
        return self.weights or (1 / len(self.sigmas),) * len(self.sigmas)

    def grid_for(self, height: int, width: int) -> tuple[int, int]:
        """Return CLAHE's tiles (rows, columns) for a window of this size in pixels."""
        return tuple(
            max(1, min(tiles, side // self.min_tile))
            for tiles, side in zip(self.grid, (height, width), strict=True)
        )

    @classmethod
    def preset(cls, name: str, **changes) -> RetinexParams:
        """Return a preset by name, with any fields changed.

        Raises:
            ValueError: if no preset goes by that name, or for a bad number.
        """
        if name not in PRESETS:
            raise ValueError(
                f"unknown AHE-Retinex preset {name!r}; expected one of: "
                f"{', '.join(PRESETS)}"
            )
        return replace(PRESETS[name], **changes)


PRESETS = {
    "default": RetinexParams(),
    "sigma_200": RetinexParams(sigmas=(15, 80, 200)),
    "sigma_12": RetinexParams(sigmas=(12, 80, 250)),
    "uniform_240": RetinexParams(sigmas=(2, 82, 162)),
    "min_max": RetinexParams(stretch="min_max"),
    "percentile": RetinexParams(stretch="percentile", stretch_at=0.01),
    "mean_2std": RetinexParams(stretch="mean_std", stretch_at=2.0),
    "mean_1.2std": RetinexParams(stretch="mean_std", stretch_at=1.2),
    "gain_5": RetinexParams(gain=5.0, offset=25.0, stretch="percentile"),
    "gain_192": RetinexParams(gain=192.0, offset=-30.0, stretch="percentile"),
}


def coarse_size(side: int, sigma: float) -> int:
    """Return the points along one side of the coarse grid for a sigma."""
    # A whole number of pixels a step: OpenCV averages such blocks several times faster.
    points = GRID_PER_SIGMA if sigma < WIDE_SIGMA else GRID_PER_WIDE_SIGMA
    step = max(1, min(int(sigma / points), side // LEAST_POINTS))
    return -(-side // step)


def _coarse_sigma(sigma: float, step: float) -> float:
    """Return the sigma that is left to blur by, in steps of the coarse grid."""
    if step == 1:
        return sigma
    spent = (step**2 - 1) / 12 + step**2 / 6  # block average, linear interpolation
    return float(np.sqrt(sigma**2 - spent) / step)


def surrounds(plane: np.ndarray, sigmas: tuple[float, ...]) -> list[np.ndarray]:
    """Return the surround of every sigma, each on its coarse grid.

    Shape:
        (H, W) float32 -> list of (h, w) float32, h <= H, w <= W.
    """
    height, width = plane.shape
    source, found = plane, {}
    # From fine to coarse, each grid is averaged down from the one before.
    for sigma in sorted(set(sigmas)):
        rows, columns = coarse_size(height, sigma), coarse_size(width, sigma)
        if (rows, columns) != source.shape:
            source = average_down(source, rows, columns)
        found[sigma] = cv2.GaussianBlur(
            source,
            (0, 0),
            sigmaX=_coarse_sigma(sigma, width / columns),
            sigmaY=_coarse_sigma(sigma, height / rows),
            borderType=cv2.BORDER_REFLECT,
        )
    return [found[sigma] for sigma in sigmas]


def average_down(plane: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the plane averaged over blocks, (rows, columns)."""
    steps = plane.shape[0] / rows, plane.shape[1] / columns
    widths = [round(step) for step in steps]
    nearly_even = all(
        width % 2 and abs(step - width) < 0.05
        for step, width in zip(steps, widths, strict=True)
    )
    if nearly_even and steps != tuple(widths):
        # Where blocks do not fit evenly, OpenCV's exact average is slow. A box of
        # the same width, read off between its pixels, is as good and faster.
        plane = cv2.blur(plane, widths[::-1], borderType=cv2.BORDER_REFLECT)
        return cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)


def weighted_sum(
    maps: list[np.ndarray], weights: tuple[float, ...], shape: tuple[int, int]
) -> np.ndarray:
    """Return the weighted sum of coarse maps at the resolution ``shape``."""
    # Each is added on the next finer grid: only one map is enlarged to the whole image.
    terms = sorted(zip(maps, weights, strict=True), key=lambda term: term[0].size)
    total = terms[0][0] * np.float32(terms[0][1])
    for finer, weight in terms[1:]:
        total = cv2.scaleAdd(finer, weight, _enlarge(total, finer.shape))
    return _enlarge(total, shape)


def _enlarge(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if plane.shape == shape:
        return plane
    return cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)


def msrcr(
    plane: np.ndarray, log_total: np.ndarray, params: RetinexParams
) -> np.ndarray:
    """Return MSRCR (eq. 1 and 2) of one channel in 0-255, before any stretch.

    Args:
        plane: (H, W) float32, S_i.
        log_total: (H, W) float32, log(sum over j of S_j + 1).
        params: the numbers to use.
    """
    logs = [cv2.log(s + 1) for s in surrounds(plane, params.sigmas)]
    out = weighted_sum(logs, params.scale_weights, plane.shape)
    log_beta = np.float32(np.log(params.beta))
    for rows in bands(plane.shape):
        own = cv2.log(plane[rows] + 1)
        restoration = own - log_total[rows]
        restoration += log_beta
        cv2.threshold(restoration, 0, 0, cv2.THRESH_TOZERO, dst=restoration)
        own -= out[rows]
        own *= restoration
        np.multiply(own, np.float32(params.alpha), out=out[rows])
    return out


def bands(shape: tuple[int, int]) -> list[slice]:
    """Return slices of rows that hold about BAND_PIXELS each."""
    step = max(1, BAND_PIXELS // shape[1])
    return [slice(top, top + step) for top in range(0, shape[0], step)]


def hue_cast(
    hue: np.ndarray, saturation: np.ndarray, params: RetinexParams
) -> np.ndarray:
    """Return the hue cast of the surround, in degrees away from the anchor hue.

    See ``hue_cast`` in ``tools/paper/retinex_reference.py``.

    Args:
        hue: (H, W) float32, degrees.
        saturation: (H, W) float32, 0-255.
        params: the numbers to use.
    """
    x, y = cv2.polarToCart(
        saturation, hue - np.float32(params.anchor_hue), angleInDegrees=True
    )
    along, across = surrounds(x, params.sigmas), surrounds(y, params.sigmas)
    casts = [
        v / (cv2.magnitude(u, v) + np.float32(params.grey_floor)) * (180 / np.pi)
        for u, v in zip(along, across, strict=True)
    ]
    return weighted_sum(casts, params.scale_weights, hue.shape)


def stretch(plane: np.ndarray, params: RetinexParams) -> np.ndarray:
    """Bring MSRCR to 0-255 (Algorithm 1, step 4), still in floating point."""
    if params.stretch == "fixed":
        return _scaled(plane, params.gain, params.offset)
    if params.stretch == "min_max":
        low, high, _, _ = cv2.minMaxLoc(plane)
    elif params.stretch == "percentile":
        at = 100 * params.stretch_at
        low, high = (float(v) for v in np.percentile(plane, (at, 100 - at)))
    else:
        mean = float(plane.mean(dtype=np.float64))
        spread = params.stretch_at * float(plane.std(dtype=np.float64))
        low, high = mean - spread, mean + spread
    if high - low < LEAST_RANGE:
        return np.full_like(plane, FLAT_LEVEL)
    scale = 255 / (high - low)
    return _scaled(plane, scale, -low * scale)


def _scaled(plane: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Return plane * scale + offset, cut off at 0 and 255."""
    out = np.empty_like(plane)
    for rows in bands(plane.shape):
        band = plane[rows]
        cv2.addWeighted(band, scale, band, 0, offset, dst=out[rows])
        np.clip(out[rows], 0, 255, out=out[rows])
    return out


def restored_planes(
    image: np.ndarray, reading: str, params: RetinexParams
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three channels after MSRCR and stretch, before AHE, 0-255.

    Args:
        image: (H, W, 3) uint8 RGB.
        reading: R, G, B for ``rgb``; else H (255 is a full turn, and a number one
            turn higher is the same hue), S and V.
        params: the numbers to use.

    Shape:
        (H, W, 3) uint8 -> three planes (H, W) float32.
    """
    log_total = np.empty(image.shape[:2], np.float32)
    if reading == "rgb":
        planes = [np.empty_like(log_total) for _ in range(3)]
        for rows in bands(log_total.shape):
            total = np.float32(3)
            for plane, channel in zip(planes, cv2.split(image[rows]), strict=True):
                plane[rows] = channel
                total = total + plane[rows]
            cv2.log(total, dst=log_total[rows])
        return tuple(stretch(msrcr(p, log_total, params), params) for p in planes)
    hue, saturation, value, gate = (np.empty_like(log_total) for _ in range(4))
    cut = params.anchor_hue % 360 - 180
    for rows in bands(log_total.shape):
        hsv = cv2.cvtColor(image[rows].astype(np.float32), cv2.COLOR_RGB2HSV)
        h, s, v = cv2.split(hsv, [hue[rows], saturation[rows], value[rows]])
        s *= 255
        if reading == "hsv_all":
            _number_in_place(h, cut)
            total = h + s
            total += v
            total += 3
        else:
            total = s + v
            total += np.float32(127.5 + 3)
        cv2.log(total, dst=log_total[rows])
        np.add(s, np.float32(params.grey_floor), out=total)
        np.divide(s, total, out=gate[rows])
    if reading == "hsv":
        hue = hue + np.float32(360) - hue_cast(hue, saturation, params)
        saturation = stretch(msrcr(saturation, log_total, params), params)
        hue *= np.float32(255 / 360)
    else:
        hue, saturation, value = (
            stretch(msrcr(p, log_total, params), params)
            for p in (hue, saturation, value)
        )
        hue += np.float32((cut + 360) * 255 / 360)
    saturation *= gate
    return hue, saturation, value


def _number_in_place(hue: np.ndarray, cut: float) -> None:
    """Turn hue in degrees into a number, 0-255 from the cut once around."""
    hue -= np.float32(cut)
    turns = np.floor(hue * np.float32(1 / 360))
    turns *= np.float32(360)
    hue -= turns
    hue *= np.float32(255 / 360)
