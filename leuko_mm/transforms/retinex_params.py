"""What AHE-Retinex can be asked to do: its readings, its numbers, named presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

READINGS = ("hsv", "hsv_all", "rgb")
STRETCHES = ("fixed", "min_max", "percentile", "mean_std")


@dataclass(frozen=True)
class RetinexParams:
    """The numbers of AHE-Retinex; lengths are pixels at the model's scale.

    The default stretch is fixed (``offset + gain * MSRCR``): it does not look at
    the rest of the image, so a cell keeps its colours when its neighbours
    change. The other stretches are the image-driven ones in use elsewhere; they
    undo any gain and offset, which then change nothing.

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

    Example:
        >>> RetinexParams.preset("min_max").stretch
        'min_max'
        >>> RetinexParams().sigmas
        (15.0, 80.0, 250.0)
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
        for name, value, rule, holds in self._rules():
            if not holds:
                raise ValueError(f"RetinexParams {name}={value!r}: expected {rule}")

    def _rules(self) -> list[tuple[str, object, str, bool]]:
        weights = self.scale_weights if self.sigmas else ()
        at_top = 0.5 if self.stretch == "percentile" else 100.0
        return [
            (
                "sigmas",
                self.sigmas,
                "one or more lengths of at least 1 pixel",
                bool(self.sigmas) and min(self.sigmas) >= 1,
            ),
            (
                "weights",
                self.weights,
                "None or one non-negative weight a sigma, summing to 1",
                len(weights) == len(self.sigmas)
                and min(weights, default=-1) >= 0
                and abs(sum(weights) - 1) < 1e-6,
            ),
            ("alpha", self.alpha, "a number above 0", self.alpha > 0),
            ("beta", self.beta, "a number above 0", self.beta > 0),
            ("gain", self.gain, "a number above 0", self.gain > 0),
            (
                "stretch",
                self.stretch,
                f"one of {', '.join(STRETCHES)}",
                self.stretch in STRETCHES,
            ),
            (
                "stretch_at",
                self.stretch_at,
                f"a number above 0 and below {at_top}",
                0 < self.stretch_at < at_top,
            ),
            ("clip_limit", self.clip_limit, "a number above 0", self.clip_limit > 0),
            (
                "grid",
                self.grid,
                "two whole numbers of at least 1",
                len(self.grid) == 2 and min(self.grid) >= 1,
            ),
            ("min_tile", self.min_tile, "at least 1", self.min_tile >= 1),
            ("grey_floor", self.grey_floor, "at least 1", self.grey_floor >= 1),
        ]

    @property
    def scale_weights(self) -> tuple[float, ...]:
        """The weights in use, one a sigma."""
        return self.weights or (1 / len(self.sigmas),) * len(self.sigmas)

    def grid_for(self, height: int, width: int) -> tuple[int, int]:
        """Return CLAHE's tiles (rows, columns) for a window of this size in pixels.

        Example:
            >>> RetinexParams().grid_for(256, 120)
            (8, 3)
        """
        return tuple(
            max(1, min(tiles, side // self.min_tile))
            for tiles, side in zip(self.grid, (height, width), strict=True)
        )

    @property
    def least_range(self) -> float:
        """Range of MSRCR under which a channel is flat and has nothing to stretch."""
        return 1e-3

    @property
    def level_of_flat(self) -> float:
        """Grey level that an image-driven stretch gives a flat channel."""
        return 127.5

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
