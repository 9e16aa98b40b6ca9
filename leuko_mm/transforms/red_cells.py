"""The size of the red cells in an image, which are of one size in everybody.

Every edge pixel votes, for every radius, for the point at that distance towards the
darker side; where enough of a circle's rim votes for one point, there is a red cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

# Diameter of a leukocyte over that of a red cell. Of labelled cells the median counts:
# 2.0 to 2.2 in five laboratories. Of predicted ones, which may be pieces, the cell at
# half of the area of all counts: 2.1 to 2.4.
LEUKOCYTE, LEUKOCYTE_BY_AREA = 2.1, 2.25
# Circles are searched at a size at which a rim is sharp and an image small.
SMALLEST, LARGEST, BEST = 20.0, 44.0, 30.0  # pixels of diameter
RIM = 0.25  # share of the rim that must vote
PATCH = 256  # side of the four patches that are searched where an image is larger
# Another size than was expected is near the end of the search: it is searched again.
CLOSE, TRIES = 1.3, 4
SIZE_SPREAD = 0.08  # spread of the log diameter of red cells of a smear
FEWEST = 2  # circles
ENOUGH = 5  # circles, for a quick look
SEEN = 0.38  # share of the best rim, at least; in noise 0.32 was met
MOST = 300  # circles of a patch
SHARPNESS = 5  # power of the rim's share, by which a circle counts


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


def quickly_seen(image: np.ndarray, diameter: float) -> bool:
    """Return whether most of what is round has about a diameter: a quick look.

    Half of the patches are searched, and at one size. False says nothing.
    """
    if BEST / diameter * min(image.shape[:2]) < 2 * SMALLEST:
        return False
    found = _circles_at(image, BEST / diameter, every=3)
    near = np.abs(np.log(found[:, 0] / diameter)) < 3 * SIZE_SPREAD
    weight = found[:, 1] ** SHARPNESS
    return bool(near.sum() >= ENOUGH and 2 * weight[near].sum() > weight.sum())


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


def _circles_at(image: np.ndarray, factor: float, *, every: int = 1) -> np.ndarray:
    """Return circles as (diameter in image pixels, rim, 1 / searched pixels)."""
    found = []
    patches = _patches(image.shape[:2], round(PATCH / factor))[::every]
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
    best = votes.max(axis=0)
    peaks = (best == cv2.dilate(best, np.ones((9, 9)))) & (best > RIM)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-best[peaks], kind="stable")[:MOST]
    x, y = columns[order], rows[order]
    rims, votes = best[y, x], votes[:, y, x]
    diameters = 2 * _between(votes, votes.argmax(axis=0), radii)
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
