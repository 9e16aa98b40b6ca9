"""To what size an image must be brought for a network that learnt at one size."""

from __future__ import annotations

import math

import numpy as np

from leuko_mm.inference.checkpoint import Checkpoint
from leuko_mm.inference.prediction import ImageScale
from leuko_mm.inference.red_cells import measure_red_cells

AUTO = "auto"
# A red cell in a dried and stained smear, in um.
RED_CELL_UM = 7.5
# Of a prepared cell image's side, where a sidecar has not measured: in BCISC.
USUAL_SHARE = 0.204
# Beyond these a measure is a mistake, or the image no smear; a network that is shown
# every pixel as thousands would only fill the memory.
SMALLEST, LARGEST = 1 / 32, 16.0
# What a pixel of a microscope's picture may be, in um: red cells of 2 to 1500 pixels.
FINEST_UM, COARSEST_UM = RED_CELL_UM / 1500, RED_CELL_UM / 2


def find_scale(
    image: np.ndarray,
    checkpoint: Checkpoint,
    *,
    scale: float | str | None = AUTO,
    um_per_px: float | None = None,
) -> ImageScale:
    """Return how many pixels of the network a pixel of an image makes.

    Args:
        image: RGB uint8.
        checkpoint: knows how large a red cell was when it was trained.
        scale: ``auto`` (or None) measures red cells; a number is taken as it is.
        um_per_px: size of a pixel of the image in um, instead of ``scale``.

    Raises:
        ValueError: if both are given, or one is not a finite number above 0, or the
            image would be shrunk or enlarged beyond what any smear needs.
    """
    check_scale(scale, um_per_px)
    if um_per_px is not None:
        return _by_pixel_size(checkpoint, um_per_px)
    if scale not in (AUTO, None):
        return ImageScale(float(scale), "factor", 1.0, note=f"scale {scale:g} as given")
    return _by_red_cells(image, checkpoint)


def check_scale(scale: float | str | None, um_per_px: float | None) -> None:
    """Refuse what is no scale.

    Raises:
        ValueError: naming what was given, and what can be.
    """
    given = {"scale": None if scale == AUTO else scale, "um_per_px": um_per_px}
    told = {name: value for name, value in given.items() if value is not None}
    if len(told) > 1:
        raise ValueError(f"{told}: give scale or um_per_px, not both")
    for name, value in told.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise ValueError(
                f"{name}={value!r}: expected a number above 0"
                + (" or 'auto'" if name == "scale" else "")
            )
    if um_per_px is not None and not FINEST_UM <= um_per_px <= COARSEST_UM:
        wide = RED_CELL_UM / um_per_px
        raise ValueError(
            f"um_per_px={um_per_px:g}: a red cell would be {wide:.3g} pixels wide; "
            "give the side of a pixel in micrometres, usually 0.05 to 0.5"
        )
    if "scale" in told and not SMALLEST <= scale <= LARGEST:
        raise ValueError(
            f"scale={scale:g}: expected {SMALLEST:g} to {LARGEST:g}, how many pixels "
            "of the network a pixel of the image makes"
        )


def network_red_cell(checkpoint: Checkpoint) -> float:
    """Return the diameter of a red cell as the network sees it, in pixels."""
    usual = USUAL_SHARE * (checkpoint.cell_px or checkpoint.prepared_px)
    return checkpoint.rbc_px or usual


def _by_pixel_size(checkpoint: Checkpoint, um_per_px: float) -> ImageScale:
    if checkpoint.px_per_um:
        factor = checkpoint.px_per_um * um_per_px
        _check_factor(factor, um_per_px)
        return ImageScale(factor, "um_per_px", 1.0, note=f"{um_per_px:g} um a pixel")
    factor = network_red_cell(checkpoint) / RED_CELL_UM * um_per_px
    _check_factor(factor, um_per_px)
    return ImageScale(
        factor,
        "um_per_px",
        0.9,
        red_cell_px=RED_CELL_UM / um_per_px,
        note=f"{um_per_px:g} um a pixel, a red cell taken as {RED_CELL_UM} um wide",
    )


def _check_factor(factor: float, um_per_px: float) -> None:
    if not SMALLEST <= factor <= LARGEST:
        raise ValueError(
            f"um_per_px={um_per_px:g} would scale the image by {factor:.3g} for this "
            f"network; {SMALLEST:g} to {LARGEST:g} can be: is it the size of a pixel?"
        )


def _by_red_cells(image: np.ndarray, checkpoint: Checkpoint) -> ImageScale:
    measured = measure_red_cells(image)
    known = network_red_cell(checkpoint)
    factor = known / measured.diameter if measured else 0.0
    if SMALLEST <= factor <= LARGEST:
        return ImageScale(
            factor,
            "red cells",
            measured.confidence,
            red_cell_px=measured.diameter,
            red_cells=measured.count,
            note=(
                f"{measured.count} red cells, {measured.diameter:.0f} pixels wide "
                f"(+- {196 * measured.spread:.0f} %), so scale {factor:.3g}; sure to "
                f"{100 * measured.confidence:.0f} %"
            ),
        )
    factor = (checkpoint.cell_px or checkpoint.prepared_px) / checkpoint.prepared_px
    return ImageScale(
        factor,
        "assumed",
        0.0,
        note=(
            f"too few red cells are seen to tell the scale; assumed {factor:.3g}, that "
            "of the prepared cells it was trained on: give --scale or --um-per-px"
        ),
    )
