"""Single cells: separated where they touch, named, measured and counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL, OTHER, UNSURE
from leuko_mm.inference.not_smear import NotSmear

# A scale that is less sure than this is reported.
UNSURE_SCALE = 0.3
# Bytes of class probabilities that are kept of one image.
KEPT_BYTES = 2**27
# A piece is two cells where its waist is narrower than this share of the narrower
# cell: round cells that just overlap stay below, one kidney-shaped cell above.
WAIST = 0.75
# Of a red cell's diameter: a leukocyte's half width is more.
SEED = 0.3
# No leukocyte is wider than so many red cells (60 um).
WIDEST = 8.0
# Rows that are searched for pieces at a time.
STRIP = 2048
# What ends so near the border of an image is cut by it: cameras leave dark lines (share
# of a cell's side), and at the edge a network is blind for so many pixels of its own.
NEAR, BLIND = 0.015, 2
# Steps of the watershed.
LEVELS = 24

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, ends excluded


@dataclass(frozen=True)
class ImageScale:
    """How an image was brought to the scale that a checkpoint was trained at.

    Args:
        factor: network pixels per pixel of the image; 0.25 shrinks it to a quarter.
        how: ``factor``, ``um_per_px``, ``red cells``, ``leukocytes`` or ``assumed``.
        confidence: 0 (assumed) to 1 (given by the user).
        red_cell_px: diameter of a red cell in pixels of the image, None if unknown.
    """

    factor: float
    how: str
    confidence: float
    red_cell_px: float | None = None
    red_cells: int = 0
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One leukocyte of an image; lengths are in pixels of the image as it was given.

    Args:
        id: its number in ``Prediction.instances``, from 1 on, row by row.
        confidence: probability of that class, given that it is a cell.
        other: probability that it is none of the classes; 0 where a model cannot tell.
        probabilities: of every class by id, given that it is one of them; 0 for the
            background, sum 1.
        background: mean probability that the network gave to "no cell" inside it.
        centroid: x, y of its middle; that of the first pixel is (0.5, 0.5).
        box: x0, y0, x1, y1, ends excluded.
        eccentricity: of the ellipse with the same second moments, 0 (circle) to 1.
        solidity: area over that of the convex hull, 0 to 1.
        circularity: 4 pi area / perimeter^2, 1 for a circle.
    """

    id: int
    class_id: int
    confidence: float
    probabilities: tuple[float, ...]
    background: float
    area: int
    centroid: tuple[float, float]
    box: Box
    touches_border: bool
    eccentricity: float
    solidity: float
    circularity: float
    other: float = 0.0

    @property
    def is_other(self) -> bool:
        """Whether it is more likely none of the classes than one of them."""
        return self.other > 0.5


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one image.

    Args:
        labels: class ids; every pixel of a cell has the cell's class, 255 where it is
            none of them.
        instances: ids of cells, 0 where none is.
        classes: names by class id.
        colours: RGB by class id.
        source: the file, if there was one.
        excluded: share of the image that is no smear, 0 to 1.
        doubts: why the classes of all its cells are doubtful.
        accept: confidence from which the class of a cell counts; others are unsure.
        names_other: whether the model tells cells that are none of the classes.

    Shape:
        labels (H, W) uint8; instances (H, W) int32.
    """

    labels: np.ndarray
    instances: np.ndarray
    cells: tuple[Cell, ...]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    scale: ImageScale
    source: Path | None = None
    excluded: float = 0.0
    doubts: tuple[str, ...] = ()
    accept: float = 0.0
    names_other: bool = False

    @property
    def answers(self) -> tuple[str, ...]:
        """Names as which cells may count: the classes, ``unsure`` and ``other``."""
        names = tuple(n for i, n in enumerate(self.classes) if i != BACKGROUND)
        more = (UNSURE,) * (self.accept > 0) + (OTHER,) * self.names_other
        return names + more

    def answer(self, cell: Cell) -> str:
        """Return the name as which a cell counts."""
        if cell.is_other:
            return OTHER
        if cell.confidence < self.accept:
            return UNSURE
        return self.classes[cell.class_id]

    @property
    def counts(self) -> Mapping[str, int]:
        """Cells by the name as which they count, in the order of ``answers``."""
        counts = dict.fromkeys(self.answers, 0)
        for cell in self.cells:
            counts[self.answer(cell)] += 1
        return MappingProxyType(counts)


def with_others(prediction: Prediction) -> Prediction:
    """Return a prediction whose labels are 255 in the cells that are no class."""
    others = [cell.id for cell in prediction.cells if cell.is_other]
    if not others:
        return prediction
    labels = prediction.labels.copy()
    labels[np.isin(prediction.instances, others)] = IGNORE_LABEL
    return replace(prediction, labels=labels)


@dataclass(frozen=True)
class DifferentialRow:
    """One row of a differential count.

    Args:
        name: a class, ``unsure`` or ``other``.
        percent: of the cells whose class counts; of ``unsure``, of all leukocytes
            (unsure ones too); of ``other``, how many come on 100 leukocytes. 0 where
            there are none, NaN where others come on no leukocyte.
        low: lower end of its Wilson interval; 0 without cells, of ``other`` NaN
            without leukocytes.
        high: upper end; 100 without cells, of ``other`` NaN without leukocytes.
    """

    name: str
    count: int
    percent: float
    low: float
    high: float


def differential(predictions: Iterable[Prediction]) -> tuple[DifferentialRow, ...]:
    """Return the differential count over the cells of many predictions.

    Args:
        predictions: of one model; each is read once and not kept.

    Returns:
        One row a name, in the order of ``Prediction.answers``; none of no prediction.
    """
    counts: Counter[str] = Counter()
    first: Prediction | None = None
    for prediction in predictions:
        first = first or prediction
        given, expected = ((p.answers, p.accept) for p in (prediction, first))
        if given != expected:
            raise ValueError(
                f"predictions of {given[0]} with accept={given[1]:g}, and of "
                f"{expected[0]} with {expected[1]:g}; expected those of one model and "
                "one accept"
            )
        counts.update(prediction.counts)
    return differential_of_counts(counts)


def differential_of_counts(counts: Mapping[str, int]) -> tuple[DifferentialRow, ...]:
    """Return the differential count of cells by the name as which they count."""
    leukocytes = sum(count for name, count in counts.items() if name != OTHER)
    classed = leukocytes - counts.get(UNSURE, 0)
    rows = []
    for name, count in counts.items():
        if name == OTHER and leukocytes:
            # Their share of all cells, as odds.
            ends = wilson_interval(count, count + leukocytes)
            low, high = (end / (1 - end) for end in ends)
            percent = 100.0 * count / leukocytes
        elif name == OTHER:
            percent = low = high = math.nan
        else:
            total = leukocytes if name == UNSURE else classed
            low, high = wilson_interval(count, total)
            percent = 100.0 * count / total if total else 0.0
        rows.append(DifferentialRow(name, count, percent, 100 * low, 100 * high))
    return tuple(rows)


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion; of 0 trials (0, 1).

    Reference:
        Wilson, J. Am. Stat. Assoc. 22 (1927). Differs: nothing.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} cells; expected 0 to {total}")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    share, square = count / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    spread = share * (1 - share) / total + square / (4 * total)
    half = z * math.sqrt(spread) / (1 + square)
    # At the ends the two terms are equal but for rounding.
    low = 0.0 if count == 0 else middle - half
    high = 1.0 if count == total else middle + half
    return low, high


class Evidence:
    """Where there are cells, and how probable each class is, in bounded memory.

    Foreground, any class against background, is kept for every pixel; probabilities
    in 255 steps, of every pixel where that fits into ``limit`` bytes, else as means of
    square blocks.
    """

    def __init__(
        self, shape: tuple[int, int], classes: int, *, limit: int = KEPT_BYTES
    ):
        self.shape = shape
        self.block = max(1, math.ceil(math.sqrt(classes * math.prod(shape) / limit)))
        self.foreground = np.zeros(shape, np.uint8)
        blocks = (-(-side // self.block) for side in shape)
        self._kept = np.zeros((classes, *blocks), np.uint8)
        self._pending: np.ndarray | None = None

    def add(self, first: int, band: np.ndarray) -> None:
        """Add the probabilities (C, rows, W) of the next rows, from the top down."""
        rows = band.shape[1]
        # The classes share what is not background: a cell is one, of whatever class.
        self.foreground[first : first + rows] = band[BACKGROUND] < 0.5
        if self._pending is not None:
            band = np.concatenate([self._pending, band], axis=1)
            first -= self._pending.shape[1]
        ends = first + band.shape[1] == self.shape[0]
        whole = band.shape[1] if ends else band.shape[1] // self.block * self.block
        self._pending = None if ends else band[:, whole:].copy()
        if not whole:
            return  # not one row of blocks yet
        for kept, plane in zip(self._kept, band[:, :whole], strict=True):
            means = _block_means(plane, self.block) if self.block > 1 else plane
            start = first // self.block
            kept[start : start + len(means)] = np.rint(255 * means)

    def put(
        self, top: int, left: int, probabilities: np.ndarray, mask: np.ndarray
    ) -> None:
        """Add the pixels of a mask, which lies anywhere; nothing else is changed.

        Shape:
            probabilities (C, h, w) float32, mask (h, w) bool.
        """
        rows, columns = np.nonzero(mask)
        self.foreground[rows + top, columns + left] = 1
        values = np.rint(255 * probabilities[:, rows, columns]).astype(np.uint8)
        # Of a block the last pixel counts, not the mean: no cell is a few blocks.
        at = (rows + top) // self.block, (columns + left) // self.block
        self._kept[:, at[0], at[1]] = values

    def sums(self, box: Box, mask: np.ndarray) -> np.ndarray:
        """Return the summed probability of every class over the pixels of a cell.

        Shape:
            mask (y1 - y0, x1 - x0) bool -> (C,) float64.
        """
        x0, y0, _, _ = box
        rows, columns = np.nonzero(mask)
        at = (rows + y0) // self.block, (columns + x0) // self.block
        return self._kept[:, at[0], at[1]].sum(axis=1, dtype=np.float64) / 255


def _block_means(plane: np.ndarray, block: int) -> np.ndarray:
    rows, columns = (-side % block for side in plane.shape)
    # The last row and column of blocks may reach beyond the image.
    whole = cv2.copyMakeBorder(plane, 0, rows, 0, columns, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // block, whole.shape[0] // block)
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)


class CellMask(NamedTuple):
    """The box of a cell, and which pixels of the box are its own."""

    box: Box
    mask: np.ndarray


def find_cell_masks(
    foreground: np.ndarray,
    *,
    red_cell_px: float,
    min_area: float,
    areas: NotSmear | None = None,
) -> Iterator[CellMask]:
    """Yield the cells of an image, row by row.

    Args:
        foreground: (H, W) uint8, not 0 in cells; each cell that is yielded is erased.
        red_cell_px: diameter of a red cell in its pixels; half widths below ``SEED``
            of it are no cell of their own, and what has the area of a disc of more
            than ``WIDEST`` of them is no cell.
        min_area: pixels below which a piece is a speck, a platelet or dirt; half of
            that at the border of the image.
        areas: what is no smear; a piece that is mostly in it is no cell, and its border
            is as that of the image.
    """
    most = math.pi / 4 * (WIDEST * red_cell_px) ** 2
    for piece in _pieces(foreground):
        for part in split_touching(piece, seed_px=SEED * red_cell_px):
            cut = touches_border(part.box, foreground.shape)
            if areas:
                cut = cut or _reaches(part, areas, foreground.shape)
                inside = areas.inside(_window(part.box), foreground.shape)
                if 2 * (part.mask & inside).sum() > part.mask.sum():
                    continue
                part = CellMask(part.box, part.mask & ~inside)
            area = int(part.mask.sum())
            if (min_area / 2 if cut else min_area) <= area <= most:
                yield part


def touches_border(box: Box, shape: tuple[int, int], *, near: float = 0) -> bool:
    """Return whether a box reaches ``near`` pixels of the border of an image (H, W)."""
    x0, y0, x1, y1 = box
    ends = x1 >= shape[1] - near or y1 >= shape[0] - near
    return x0 <= near or y0 <= near or ends


def _window(box: Box) -> tuple[slice, slice]:
    return slice(box[1], box[3]), slice(box[0], box[2])


def _reaches(cell: CellMask, areas: NotSmear, grid: tuple[int, int]) -> bool:
    near = areas.inside(_window(cell.box), grid, wider=2)
    return bool((near & cell.mask).any())


def _pieces(foreground: np.ndarray, strip: int = STRIP) -> Iterator[CellMask]:
    # The next strip begins where the first unfinished piece of this one begins. A piece
    # that is taller than a strip, as no cell is, is cut.
    height = foreground.shape[0]
    start = 0
    while start < height:
        stop = min(height, start + strip)
        rows = foreground[start:stop]
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            rows, connectivity=8, ltype=cv2.CV_32S
        )
        tops = stats[1:, cv2.CC_STAT_TOP]
        bottoms = tops + stats[1:, cv2.CC_STAT_HEIGHT]
        open_tops = tops[bottoms == stop - start] if stop < height else tops[:0]
        following = int(open_tops.min()) if len(open_tops) else stop - start
        if following == 0:
            following = stop - start
        for number in 1 + np.flatnonzero(tops < following):
            x0, y0, w, h, _ = (int(v) for v in stats[number])
            window = (slice(y0, y0 + h), slice(x0, x0 + w))
            mask = labels[window] == number
            rows[window][mask] = 0
            yield CellMask((x0, start + y0, x0 + w, start + y0 + h), mask)
        start += following


def split_touching(piece: CellMask, *, seed_px: float) -> list[CellMask]:
    """Return the cells of a connected piece: several where it has a narrow waist.

    Every cell has a point that is farthest from the outside, at least ``seed_px``
    pixels. Two such points are two cells where the widest path from one to the other
    is narrower than ``WAIST`` times the narrower of them; a watershed from those points
    divides the piece.
    """
    x0, y0, _, _ = piece.box
    padded = np.pad(piece.mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    seeds = _seeds(distance, padded > 0, seed_px)
    if len(seeds) < 2:
        return [piece]
    parts = _flooded(distance, seeds)[1:-1, 1:-1]
    found = []
    for number, (left, top, right, bottom) in enumerate(_boxes(parts, len(seeds)), 1):
        mask = parts[top:bottom, left:right] == number
        box = (x0 + left, y0 + top, x0 + right, y0 + bottom)
        found.append(CellMask(box, mask))
    return found


def _boxes(parts: np.ndarray, count: int) -> list[Box]:
    """Return the box of every number from 1 to ``count``, all of which are there."""
    rows, columns = np.nonzero(parts)
    numbers = parts[rows, columns]
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(1, count + 1))
    ends = []
    for places in (columns[order], rows[order]):
        ends.append((np.minimum, places))
        ends.append((np.maximum, places))
    left, right, top, bottom = (by.reduceat(p, starts) for by, p in ends)
    return np.stack([left, top, right + 1, bottom + 1], axis=1).tolist()


def _flooded(distance: np.ndarray, seeds: list[tuple[int, int]]) -> np.ndarray:
    # The watershed of the distance to the outside: from the highest level down, new
    # pixels get the seed of the nearest pixel that has one.
    owner = np.zeros(distance.shape, np.int32)
    for number, (row, column) in enumerate(seeds, start=1):
        owner[row, column] = number
    for level in np.linspace(distance.max(), 0, LEVELS):
        _, nearest = cv2.distanceTransformWithLabels(
            (owner == 0).astype(np.uint8),
            cv2.DIST_L2,
            5,
            labelType=cv2.DIST_LABEL_PIXEL,
        )
        numbers = np.zeros(nearest.max() + 1, np.int32)
        numbers[nearest[owner > 0]] = owner[owner > 0]
        new = (owner == 0) & (distance > level)
        owner[new] = numbers[nearest[new]]
    return owner


def _seeds(
    distance: np.ndarray, region: np.ndarray, least: float
) -> list[tuple[int, int]]:
    inner = np.where(region, distance, 0)
    peak = float(inner.max())
    for level in np.linspace(0.1, WAIST, 27) * peak:
        above = (inner > level).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(above)
        enough, own = max(least, level / WAIST), []
        # Each in its box: a large area of cells that touch has hundreds of them.
        for number, (x, y, width, tall, _) in enumerate(stats[1:].tolist(), start=1):
            # From even pixels on: OpenCV numbers pieces by squares of 2x2.
            x0, y0 = x - x % 2, y - y % 2
            window = slice(y0, y + tall), slice(x0, x + width)
            mask = parts[window] == number
            if inner[window].max(initial=0, where=mask) >= enough:
                own.append((y0, x0, window, mask))
        if len(own) > 1:
            return [
                (y0 + row, x0 + column)
                for y0, x0, window, mask in own
                for row, column in _seeds(distance[window], mask, least)
            ]
    return [np.unravel_index(int(inner.argmax()), inner.shape)]


def assemble(
    masks: Iterable[CellMask],
    evidence: Evidence,
    shape: tuple[int, int],
    *,
    areas: NotSmear | None = None,
) -> tuple[np.ndarray, np.ndarray, tuple[Cell, ...]]:
    """Return class labels, instances, and the cells of an image.

    The class of a cell is the one whose probabilities have the largest sum over its
    pixels.

    Args:
        masks: on the grid of the evidence.
        evidence: of the same image.
        shape: height and width of the image.
        areas: what of the image is no smear.
    """
    labels = np.zeros(shape, np.uint8)
    instances = np.zeros(shape, np.int32)
    cells: list[Cell] = []
    blind = BLIND * shape[0] / evidence.shape[0]
    for small in masks:
        large = _enlarged(small, evidence.shape, shape)
        window = _window(large.box)
        # Outlines of touching cells may overlap by a pixel when they are enlarged.
        mask = large.mask & (instances[window] == 0)
        if not mask.any():
            continue
        sums = evidence.sums(*small)
        own, pixels = CellMask(large.box, mask), small.mask.sum()
        cell = _measured(len(cells) + 1, own, sums, pixels)
        x0, y0, x1, y1 = cell.box
        near = max(NEAR * max(x1 - x0, y1 - y0), blind)
        cut = touches_border(cell.box, shape, near=near)
        if cut or (areas and _reaches(own, areas, shape)):
            cell = replace(cell, touches_border=True)
        labels[window][mask] = cell.class_id
        instances[window][mask] = cell.id
        cells.append(cell)
    return labels, instances, tuple(cells)


def moved(cell: Cell, right: int, down: int) -> Cell:
    """Return a cell at another place of its image."""
    (x, y), (x0, y0, x1, y1) = cell.centroid, cell.box
    box = (x0 + right, y0 + down, x1 + right, y1 + down)
    return replace(cell, centroid=(x + right, y + down), box=box)


def _enlarged(
    cell: CellMask, grid: tuple[int, int], shape: tuple[int, int]
) -> CellMask:
    if grid == shape:
        return cell
    x0, y0, x1, y1 = cell.box
    down, right = shape[0] / grid[0], shape[1] / grid[1]
    left, top = int(x0 * right), int(y0 * down)
    end_x = min(math.ceil(x1 * right), shape[1])
    end_y = min(math.ceil(y1 * down), shape[0])
    padded = np.pad(cell.mask.astype(np.float32), 1, mode="edge")
    # Beyond the border of the grid a cell continues, beyond its box it ends.
    padded[0] *= y0 == 0
    padded[-1] *= y1 == grid[0]
    padded[:, 0] *= x0 == 0
    padded[:, -1] *= x1 == grid[1]
    shift_x = (left + 0.5) / right - 0.5 - x0 + 1
    shift_y = (top + 0.5) / down - 0.5 - y0 + 1
    matrix = np.array([[1 / right, 0, shift_x], [0, 1 / down, shift_y]])
    size = (end_x - left, end_y - top)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    mask = cv2.warpAffine(padded, matrix, size, flags=flags) >= 0.5
    return CellMask((left, top, end_x, end_y), mask)


def _measured(number: int, cell: CellMask, sums: np.ndarray, pixels: int) -> Cell:
    shares = sums.copy()
    shares[BACKGROUND] = 0
    if shares.sum() == 0:  # no class is likelier than another
        shares[BACKGROUND + 1 :] = 1
    shares = shares / shares.sum()
    class_id = int(shares.argmax())
    left, top, width, height = cv2.boundingRect(cell.mask.astype(np.uint8))
    x0, y0 = cell.box[0] + left, cell.box[1] + top
    mask = cell.mask[top : top + height, left : left + width]
    box = (x0, y0, x0 + width, y0 + height)
    x, y, eccentricity = _ellipse(mask)
    solidity, circularity = _outline(mask)
    return Cell(
        id=number,
        class_id=class_id,
        confidence=float(shares[class_id]),
        probabilities=tuple(shares.tolist()),
        background=float(sums[BACKGROUND] / pixels),
        area=int(mask.sum()),
        centroid=(x0 + x, y0 + y),
        box=box,
        touches_border=False,
        eccentricity=eccentricity,
        solidity=solidity,
        circularity=circularity,
    )


def _ellipse(mask: np.ndarray) -> tuple[float, float, float]:
    """Return the middle (x, y) and the eccentricity of equal second moments."""
    m = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = m["m00"]
    # A pixel is a square with moments of its own, 1 / 12.
    xx, yy, xy = m["mu20"] / area + 1 / 12, m["mu02"] / area + 1 / 12, m["mu11"] / area
    middle, half = (xx + yy) / 2, float(np.hypot((xx - yy) / 2, xy))
    eccentricity = float(np.sqrt(max(0.0, 1 - (middle - half) / (middle + half))))
    return m["m10"] / area + 0.5, m["m01"] / area + 0.5, eccentricity


def _outline(mask: np.ndarray) -> tuple[float, float]:
    area = float(mask.sum())
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(outlines)), 1)
    # From the middles of the outermost pixels to their outer sides: pi more.
    length = sum(map(_digital_length, outlines)) + np.pi
    solidity = min(1.0, area / float(hull.sum()))
    return solidity, float(min(1.0, 4 * np.pi * area / length**2))


def _digital_length(outline: np.ndarray) -> float:
    """Return the length of the line whose pixels an outline is.

    Reference:
        Vossepoel and Smeulders, Comput. Graph. Image Process. 20 (1982): steps of a
        digital line are weighted for a mean error of 0. Differs: nothing.
    """
    steps = np.diff(outline[:, 0], axis=0, append=outline[:1, 0])
    slanted = np.abs(steps).sum(axis=1) == 2
    turns = (steps != np.roll(steps, 1, axis=0)).any(axis=1).sum()
    return 0.980 * (~slanted).sum() + 1.406 * slanted.sum() - 0.091 * turns
