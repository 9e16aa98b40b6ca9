"""The scale of an image, measured on its red cells, which are of one size in everybody.

Every edge pixel votes, for every radius, for the point at that distance towards the
darker side; where enough of a circle's rim votes for one point, there is a red cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.inference.cells import ImageScale
from leuko_mm.inference.model import Checkpoint

AUTO = "auto"
RED_CELLS, LEUKOCYTES, ASSUMED = "red cells", "leukocytes", "assumed"
# Median diameter of leukocytes over that of red cells; 2.0 to 2.2 in five laboratories;
# half of the single cells lie within 12 % of it.
LEUKOCYTE = 2.1
# Images were taken alike where the logarithms of their scales differ by less.
ALIKE = 0.15
MOST_MEASURED = 25  # images of a folder, evenly over it
# A red cell in a dried and stained smear, in um.
RED_CELL_UM = 7.5
# Red cell over side of a prepared cell image in BCISC, for sidecars without a measure.
USUAL_SHARE = 0.204
# Beyond these the measure is wrong, or the image no smear.
MIN_FACTOR, MAX_FACTOR = 1 / 32, 16.0
# What a pixel of a microscope's picture may be, in um: red cells of 2 to 1500 pixels.
FINEST_UM, COARSEST_UM = RED_CELL_UM / 1500, RED_CELL_UM / 2

# Circles are searched at a size at which a rim is sharp and an image small.
SMALLEST, LARGEST, BEST = 20.0, 44.0, 30.0  # pixels of diameter
RIM = 0.25  # share of the rim that must vote
PATCH = 256  # side of the four patches that are searched where an image is larger
# Another size than was expected is near the end of the search: it is searched again.
CLOSE, TRIES = 1.3, 4
SIZE_SPREAD = 0.08  # spread of the log diameter of red cells of a smear
FEWEST = 2  # circles
SEEN = 0.38  # share of the best rim, at least; in noise 0.32 was met
MOST = 300  # circles of a patch
SHARPNESS = 5  # power of the rim's share, by which a circle counts


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


def agreed_scale(found: Sequence[ImageScale]) -> ImageScale | None:
    """Return one scale for images that were taken alike, by the red cells of all.

    None where fewer than three images show red cells (two where there are only two), or
    where half of those that do are further from their median than ``ALIKE``.
    """
    seen = [one for one in found if one.how == RED_CELLS]
    if len(seen) < min(3, max(2, len(found))):
        return None
    factor = float(np.median([one.factor for one in seen]))
    near = [one for one in seen if abs(math.log(one.factor / factor)) < ALIKE]
    if 2 * len(near) < len(seen) + 1:
        return None
    note = (
        f"scale {factor:.3g}, by the red cells of {len(near)} of {len(found)} images "
        "that were taken alike"
    )
    return ImageScale(
        factor,
        RED_CELLS,
        max(one.confidence for one in near),
        float(np.median([one.factor * one.red_cell_px for one in near])) / factor,
        sum(one.red_cells for one in near),
        note,
    )


def scale_of_leukocytes(
    diameters: Sequence[float], checkpoint: Checkpoint
) -> ImageScale | None:
    """Return the scale at which leukocytes have their usual size; None of no cell.

    Args:
        diameters: of circles of the cells' areas, in pixels of the images.
    """
    if not len(diameters):
        return None
    red_cell = float(np.median(diameters)) / LEUKOCYTE
    factor = network_red_cell(checkpoint) / red_cell
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        return None
    note = (
        f"scale {factor:.3g}, by the size of {len(diameters)} leukocytes, as too few "
        "red cells are seen; --scale or --um-per-px is surer"
    )
    # Of one cell to about 20 %; of many, by how other smears differ.
    sure = 0.2 + 0.2 * (1 - math.exp(-len(diameters) / 10))
    return ImageScale(factor, LEUKOCYTES, sure, red_cell, note=note)


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
        count = min(len(paths), MOST_MEASURED)
        some = [paths[i * len(paths) // count] for i in range(count)]
        if count > 1 and (scale := common_scale(some)):
            found[folder] = asdict(scale)
    return found


def check_scale(scale: float | str | None, um_per_px: float | None) -> None:
    """Refuse by a ``ValueError`` what is no scale, or no microscope's pixel size."""
    given = {"scale": None if scale == AUTO else scale, "um_per_px": um_per_px}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"{given}: give scale or um_per_px, not both")
    for name, value in given.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
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


@dataclass(frozen=True)
class RedCells:
    """What was measured of the red cells of an image.

    Args:
        diameter: pixels.
        spread: standard error of the diameter, as a share of it.
        confidence: 0 to 1: how many there are, how well they are seen, and how much
            of all that is round is of one size.
    """

    diameter: float
    count: int
    spread: float
    confidence: float


def measure_red_cells(image: np.ndarray) -> RedCells | None:
    """Return the size of the red cells in an image, None where too few are seen.

    Diameters may be 10 pixels to half of the image's shorter side: circles are searched
    at every octave, and those that cover most of the image are red cells.
    """
    peak = _most_area(_at_octaves(image))
    for _ in range(TRIES):
        if peak is None:
            return None
        # Again at the size at which they are best seen, without those of another size.
        rough, found = peak, _circles_at(image, BEST / peak)
        peak = _most_area(found)
        if peak and max(peak / rough, rough / peak) < CLOSE:
            break
    else:
        return None
    weight = found[:, 1] ** SHARPNESS
    near = np.abs(np.log(found[:, 0] / peak)) < 3 * SIZE_SPREAD
    sizes, rims = found[near, 0], np.sort(found[near, 1])
    if near.sum() < FEWEST or rims[-1] < SEEN:
        return None
    diameter = _weighted_median(sizes, weight[near])
    spread = 1.25 * float(np.std(np.log(sizes))) / math.sqrt(len(sizes))
    area = weight * found[:, 0] ** 2
    sure = float(area[near].sum() / area.sum()) * (1 - math.exp(-len(sizes) / 6))
    # In noise, too, some rims are seen: down to RIM they count for nothing.
    sure *= min(1.0, float(rims[-3:].mean() - RIM) / (SEEN - RIM) / 2)
    return RedCells(diameter, len(sizes), spread, sure)


def _at_octaves(image: np.ndarray) -> np.ndarray:
    factor, found = 2.0, []
    while factor * min(image.shape[:2]) >= 2 * SMALLEST:
        circles = _circles_at(image, factor)
        # Octaves overlap; a circle that two of them see counts once.
        found.append(circles[circles[:, 0] * factor < 2 * SMALLEST])
        factor /= 2
    return np.concatenate(found) if found else np.empty((0, 3))


def _most_area(circles: np.ndarray) -> float | None:
    """Return the diameter around which circles cover most of the searched area."""
    if len(circles) < FEWEST:
        return None
    logs = np.log(circles[:, 0])
    weight = circles[:, 1] ** SHARPNESS * circles[:, 0] ** 2 * circles[:, 2]
    near = np.exp(-0.5 * ((logs[:, None] - logs[None]) / SIZE_SPREAD) ** 2)
    return float(circles[np.argmax(near @ weight), 0])


def _circles_at(image: np.ndarray, factor: float) -> np.ndarray:
    """Return circles as (diameter in image pixels, rim, 1 / searched pixels)."""
    found = []
    patches = _patches(image.shape[:2], round(PATCH / factor))
    for rows, columns in patches:
        patch = image[rows, columns]
        size = [max(1, round(side * factor)) for side in patch.shape[1::-1]]
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        small = cv2.resize(patch, size, interpolation=method) if factor != 1 else patch
        for diameter, rim in find_circles(small):
            area = patch.shape[0] * patch.shape[1] * len(patches)
            found.append((diameter / factor, rim, 1 / area))
    return np.array(found).reshape(-1, 3)


def _patches(shape: tuple[int, int], side: int) -> list[tuple[slice, slice]]:
    def spans(length: int) -> list[slice]:
        if length <= 2 * side:
            return [slice(0, length)]
        starts = (length // 4 - side // 2, 3 * length // 4 - side // 2)
        return [slice(max(0, start), start + side) for start in starts]

    return [(rows, columns) for rows in spans(shape[0]) for columns in spans(shape[1])]


def find_circles(image: np.ndarray) -> list[tuple[float, float]]:
    """Return (diameter, seen share of the rim) of dark discs of 20 to 44 pixels."""
    radii = np.arange(SMALLEST / 2, LARGEST / 2 + 0.1)
    votes = _votes(image, radii)
    if votes is None:
        return []
    best, which = votes.max(axis=0), votes.argmax(axis=0)
    peaks = (best == cv2.dilate(best, np.ones((9, 9)))) & (best > RIM)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-best[peaks], kind="stable")[:MOST]
    x, y = columns[order], rows[order]
    diameters, rims = 2 * _between(votes[:, y, x], which[y, x], radii), best[y, x]
    free = np.ones(len(order), bool)
    for i in range(len(order)):
        if free[i]:
            # Of two circles in one place the one that is seen better counts.
            apart = np.hypot(x - x[i], y - y[i])
            free &= apart > 0.4 * np.maximum(diameters, diameters[i])
            free[i] = True
    return list(zip(diameters[free].tolist(), rims[free].tolist(), strict=True))


def _between(votes: np.ndarray, at: np.ndarray, radii: np.ndarray) -> np.ndarray:
    # The peak of a parabola through the votes (R, N) around each best one (N,).
    inner = np.clip(at, 1, len(radii) - 2)
    below, peak, above = (votes[inner + k, np.arange(len(at))] for k in (-1, 0, 1))
    bend = 2 * peak - below - above
    shift = np.divide(above - below, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    return radii[inner] + np.clip(shift, -1, 1) * (radii[1] - radii[0])


def _votes(image: np.ndarray, radii: np.ndarray) -> np.ndarray | None:
    """Return the share of a rim that votes for each radius and place, (R, H, W)."""
    # Haemoglobin takes green; in its logarithm a shadow is a mere offset.
    light = image[..., 1].astype(np.float32)
    density = cv2.GaussianBlur(-1000 * np.log((light + 4) / 260), (0, 0), 1.2)
    right = cv2.Sobel(density, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(density, cv2.CV_32F, 0, 1)
    steep = np.hypot(right, down)
    enough = max(0.6 * float(np.percentile(steep, 92)), 60.0)
    edges = cv2.Canny(
        *(np.clip(4 * d, -32000, 32000).astype(np.int16) for d in (right, down)),
        2.4 * enough,
        4 * enough,
        L2gradient=True,
    )
    rows, columns = np.nonzero(edges)
    if not len(rows):
        return None
    length = steep[rows, columns]
    inwards_x, inwards_y = right[rows, columns] / length, down[rows, columns] / length
    height, width = steep.shape
    votes = np.empty((len(radii), height, width), np.float32)
    sigma = 1.5
    for i, radius in enumerate(radii):
        x = np.rint(columns + radius * inwards_x).astype(np.intp)
        y = np.rint(rows + radius * inwards_y).astype(np.intp)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        counts = np.bincount(y[inside] * width + x[inside], minlength=height * width)
        counts = counts.reshape(height, width).astype(np.float32)
        votes[i] = cv2.GaussianBlur(counts, (0, 0), sigma)
        # As many votes as fall into the blur, of those that the rim has.
        votes[i] *= 2 * np.pi * sigma**2 / (2 * np.pi * radius)
    # A cell is not quite round: neighbouring radii add up.
    padded = np.concatenate([votes[:1], votes, votes[-1:]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    shares = np.cumsum(weights[order]) - weights[order] / 2
    return float(np.interp(weights.sum() / 2, shares, values[order]))
