"""The scale of an image, measured on its red cells or given by the user."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from numbers import Real
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.inference.cells import ImageScale
from leuko_mm.inference.model import Checkpoint
from leuko_mm.transforms.red_cells import (
    LEUKOCYTE_BY_AREA,
    measure_red_cells,
    quickly_seen,
)

AUTO = "auto"
RED_CELLS, LEUKOCYTES, ASSUMED = "red cells", "leukocytes", "assumed"
# What a progress line says meanwhile.
MEASURING = "measuring the scale"
# Images were taken alike where the logarithms of their scales differ by less.
ALIKE = 0.15
# An image is named where they differ by more, and its own measure is as sure.
SURELY_OTHER, SURE = 0.3, 0.6
ANOTHER_SIZE = "red cells have another size here"  # in the note of a scale
MOST_MEASURED = 25  # images of a folder, evenly over it
# A red cell in a dried and stained smear, in um.
RED_CELL_UM = 7.5
# Red cell over side of a prepared cell image in BCISC, for sidecars without a measure.
USUAL_SHARE = 0.204
# Beyond these the measure is wrong, or the image no smear.
MIN_FACTOR, MAX_FACTOR = 1 / 32, 16.0
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
        checkpoint: its sidecar says how large a red cell was in training.
        scale: ``auto`` (or None) measures red cells; a number is taken as it is.
        um_per_px: size of a pixel of the image in um, instead of ``scale``.
    """
    check_scale(scale, um_per_px)
    if um_per_px is not None:
        return _by_pixel_size(checkpoint, um_per_px)
    if scale not in (AUTO, None):
        return ImageScale(float(scale), "factor", 1.0, note=f"scale {scale:g} as given")
    return _by_red_cells(image, checkpoint)


def agreed_scale(
    found: Sequence[ImageScale], *, measured: int | None = None
) -> ImageScale | None:
    """Return one scale for images that were taken alike, by the red cells of all.

    None where fewer than three images show red cells (or fewer than there are), or
    where half of those that do are further from their median than ``ALIKE``.

    Args:
        measured: how many images the note speaks of; None: all that are given.
    """
    seen = [one for one in found if one.how == RED_CELLS]
    if not seen or len(seen) < min(3, len(found)):
        return None
    factor = float(np.median([one.factor for one in seen]))
    near = [one for one in seen if abs(math.log(one.factor / factor)) < ALIKE]
    if 2 * len(near) < len(seen) + 1:
        return None
    measured = measured or len(found)
    width = float(np.median([one.factor * one.red_cell_px for one in near])) / factor
    note = (
        f"red cells {width:.0f} pixels wide in {len(near)} of {measured} images that "
        f"were taken alike, so scale {factor:.3g}"
    )
    return ImageScale(
        factor,
        RED_CELLS,
        1 - math.prod(1 - one.confidence for one in near),
        width,
        sum(one.red_cells for one in near),
        note,
    )


def with_own_size(
    scale: ImageScale, image: np.ndarray, checkpoint: Checkpoint
) -> ImageScale:
    """Return a scale whose note says that red cells of the image surely have another.

    Only where a quick look does not see those of the scale are they measured.

    Args:
        scale: of several images, or given by the user.
    """
    if scale.how in (LEUKOCYTES, ASSUMED):
        return scale
    if quickly_seen(image, network_red_cell(checkpoint) / scale.factor):
        return scale
    own = _by_red_cells(image, checkpoint)
    far = abs(math.log(own.factor / scale.factor)) > SURELY_OTHER
    if own.how != RED_CELLS or own.confidence < SURE or not far:
        return scale
    size = f"{ANOTHER_SIZE}: {own.red_cell_px:.0f} pixels"
    return replace(scale, note=f"{scale.note}; {size}")


def areas_of_pieces(cells: np.ndarray) -> list[int]:
    """Return the areas of the connected pieces of a mask of cells, in pixels.

    Those that the border cuts count only where all are cut. At a scale that is too
    large, one leukocyte is divided into several cells, which touch.

    Shape:
        (H, W) bool.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8))
    left, top, width, height, area = stats[1:].T
    inside = (left > 0) & (top > 0)
    inside &= (left + width < cells.shape[1]) & (top + height < cells.shape[0])
    return (area[inside] if inside.any() else area).tolist()


def scale_of_leukocytes(
    areas: Sequence[float], checkpoint: Checkpoint
) -> ImageScale | None:
    """Return the scale at which leukocytes have their usual size; None of no cell.

    What counts is the cell at half of the area of all, so that pieces of cells, which
    are found at a wrong scale, hardly do.

    Args:
        areas: of the cells, in pixels of the images.
    """
    if not len(areas):
        return None
    order = np.sort(np.asarray(areas, float))
    middle = order[np.searchsorted(np.cumsum(order), order.sum() / 2)]
    red_cell = 2 * math.sqrt(middle / math.pi) / LEUKOCYTE_BY_AREA
    factor = network_red_cell(checkpoint) / red_cell
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        return None
    note = (
        f"scale {factor:.3g}, by the size of {len(areas)} leukocytes, as too few "
        "red cells are seen; --scale or --um-per-px is surer"
    )
    # One cell tells it roughly; many still depend on which classes a smear shows.
    sure = 0.2 + 0.2 * (1 - math.exp(-len(areas) / 10))
    return ImageScale(factor, LEUKOCYTES, sure, red_cell, note=note)


def measured_of(images: Sequence) -> list:
    """Return the images of a folder that tell its scale, evenly over all."""
    count = min(len(images), MOST_MEASURED)
    return [images[i * len(images) // count] for i in range(count)]


def scales_of_folders(
    images: Mapping[str, Path],
    common_scale: Callable[[Sequence[Path]], ImageScale | None],
) -> dict[str, dict]:
    """Return the scale of each folder whose images were taken alike.

    Args:
        images: by name, which is a path with slashes.
        common_scale: of some images; see ``Predictor.common_scale``.

    Returns:
        The fields of an ``ImageScale`` by folder. Others find the scale image by image.
    """
    folders: dict[str, list[Path]] = {}
    for name, path in images.items():
        folders.setdefault(name.rpartition("/")[0], []).append(path)
    found = {}
    for folder, paths in folders.items():
        if len(paths) > 1 and (scale := common_scale(measured_of(paths))):
            found[folder] = asdict(scale)
    return found


def scales_of_run(
    former: Mapping | None,
    images: Mapping[str, Path],
    common_scale: Callable[[Sequence[Path]], ImageScale | None],
) -> tuple[dict[str, dict], set[str]]:
    """Return the scales of a run's folders, and the folders that had another before.

    A run that is resumed with the same images keeps its scales.

    Args:
        former: state of the run that is resumed; None for a new one.
        images: of the run, by name.
        common_scale: see ``scales_of_folders``.
    """
    if former and ("scales" not in former or former["images"] == list(images)):
        return former.get("scales", {}), set()
    scales = scales_of_folders(images, common_scale)
    before = former["scales"] if former else scales
    return scales, {x for x in {*scales, *before} if scales.get(x) != before.get(x)}


def check_scale(scale: float | str | None, um_per_px: float | None) -> None:
    """Refuse by a ``ValueError`` what is no scale, or no microscope's pixel size."""
    given = {"scale": None if scale == AUTO else scale, "um_per_px": um_per_px}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{given}: give scale or um_per_px, not both")
    for name, value in given.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise ValueError(
                f"{name}={value!r}: expected a number above 0"
                + (" or 'auto'" if name == "scale" else "")
            )
    if um_per_px is not None and not FINEST_UM <= um_per_px <= COARSEST_UM:
        raise ValueError(
            f"um_per_px={um_per_px:g}: a red cell would be "
            f"{RED_CELL_UM / um_per_px:.3g} pixels wide; give the side of a pixel in "
            "micrometres, usually 0.05 to 0.5"
        )
    if "scale" in given and not MIN_FACTOR <= scale <= MAX_FACTOR:
        raise ValueError(
            f"scale={scale:g}: expected {MIN_FACTOR:g} to {MAX_FACTOR:g}, how many "
            "pixels of the network a pixel of the image makes"
        )


def network_red_cell(checkpoint: Checkpoint) -> float:
    """Return the diameter of a red cell as the network sees it, in pixels."""
    usual = USUAL_SHARE * (checkpoint.cell_px or checkpoint.prepared_px)
    return checkpoint.rbc_px or usual


def _by_pixel_size(checkpoint: Checkpoint, um_per_px: float) -> ImageScale:
    known = checkpoint.px_per_um
    factor = (known or network_red_cell(checkpoint) / RED_CELL_UM) * um_per_px
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise ValueError(
            f"um_per_px={um_per_px:g} would scale the image by {factor:.3g} for this "
            f"network; expected {MIN_FACTOR:g} to {MAX_FACTOR:g}: is it the size of a "
            "pixel?"
        )
    if known:
        return ImageScale(factor, "um_per_px", 1.0, note=f"{um_per_px:g} um a pixel")
    note = f"{um_per_px:g} um a pixel, a red cell taken as {RED_CELL_UM} um wide"
    return ImageScale(factor, "um_per_px", 0.9, RED_CELL_UM / um_per_px, note=note)


def _by_red_cells(image: np.ndarray, checkpoint: Checkpoint) -> ImageScale:
    measured = measure_red_cells(image)
    factor = network_red_cell(checkpoint) / measured.diameter if measured else 0.0
    if MIN_FACTOR <= factor <= MAX_FACTOR:
        diameter, count, spread, sure = astuple(measured)
        note = (
            f"{count} red cells, {diameter:.0f} pixels wide (+- {196 * spread:.0f} %), "
            f"so scale {factor:.3g}; sure to {100 * sure:.0f} %"
        )
        return ImageScale(factor, RED_CELLS, sure, diameter, count, note)
    return assumed_scale(checkpoint)


def assumed_scale(checkpoint: Checkpoint) -> ImageScale:
    """Return the scale of the images that a network was trained on."""
    factor = (checkpoint.cell_px or checkpoint.prepared_px) / checkpoint.prepared_px
    note = (
        f"too few red cells are seen to tell the scale; assumed {factor:.3g}, that of "
        "the prepared cells it was trained on: give --scale or --um-per-px"
    )
    return ImageScale(factor, ASSUMED, 0.0, note=note)
