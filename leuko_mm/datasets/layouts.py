"""Where the cells of a mosaic lie: on a grid, or as in a smear.

On a grid every cell is in the middle of its tile and all borders are straight and in
the same place, which a network can learn instead of cells. A smear has cells anywhere
on one blended background, some touching or cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL

# Lengths as shares of a tile's side. The weight of a cell's surroundings at a distance
# of d pixels is (1 + d / REACH) ** -8; a tile fades out over FADE towards a mirror
# image of its cell, and is not shown within ROOM of it.
REACH = 1 / 16
FADE = 1 / 6
ROOM = 1 / 32
# Weight of the mean colour, which shows only where every tile has a leukocyte.
FLOOR = 1e-20
# Of the shorter side: how far from the middle of an image its cell may begin.
MIDDLE = 0.1

Tile = tuple[np.ndarray, np.ndarray]
Box = tuple[int, int, int, int]
Corner = tuple[int, int]


class Mosaic(NamedTuple):
    """A mosaic, and the box (x0, y0, x1, y1) of each tile in its pixels."""

    image: np.ndarray
    labels: np.ndarray
    boxes: list[Box]


def tile_edges(size: int, n: int) -> list[int]:
    """Return the n + 1 edges of the tiles along one side, round(i * size / n)."""
    return [round(i * size / n) for i in range(n + 1)]


def lay_grid(
    cells: Sequence[int | None],
    tile_of: Callable[[int, int, int], Tile],
    *,
    n: int,
    size: int,
    fill: int,
) -> Mosaic:
    """Put n x n cells beside one another, row by row.

    Args:
        cells: one a place; None leaves the place empty.
        tile_of: from (cell, height, width) to its image and labels of that size.
        n: tiles along a side.
        size: side of the mosaic in pixels.
        fill: grey level of empty places, 0-255.
    """
    image = np.empty((size, size, 3), dtype=np.uint8)
    labels = np.empty((size, size), dtype=np.uint8)
    edges = tile_edges(size, n)
    boxes = []
    for place, cell in enumerate(cells):
        row, column = divmod(place, n)
        y0, y1, x0, x1 = *edges[row : row + 2], *edges[column : column + 2]
        boxes.append((x0, y0, x1, y1))
        if cell is None:
            image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = fill, BACKGROUND
        else:
            tile = tile_of(cell, y1 - y0, x1 - x0)
            image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = tile
    return Mosaic(image, labels, boxes)


def cell_box(labels: np.ndarray) -> Box:
    """Return the box of all labelled pixels; at least one is needed."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def number_in_middle(numbers: np.ndarray) -> int:
    """Return the number that most pixels around the middle of an image have, 0: none.

    Shape:
        (H, W), numbers of cells or pieces, 0 for none.
    """
    height, width = numbers.shape
    y, x = np.ogrid[:height, :width]
    away = np.hypot(y + 0.5 - height / 2, x + 0.5 - width / 2)
    near = numbers[(away <= MIDDLE * min(height, width)) & (numbers > 0)]
    return int(np.bincount(near).argmax()) if near.size else 0


def paint_tiles(
    tiles: Sequence[Tile],
    corners: Sequence[Corner],
    *,
    size: int,
    shown: Sequence[np.ndarray],
) -> Mosaic:
    """Blend one background from all tiles, and paint their cells on it.

    The background is a weighted mean of the tiles, each mirrored over the whole
    mosaic: near a cell its own surroundings, between two cells a smooth change.
    Leukocytes are left out of it. Where two cells meet, the later one is in front. The
    box of a cell that is not shown is empty.

    Args:
        tiles: images with their labels, all squares of one side.
        corners: (x, y) of each tile's upper left corner in the mosaic; a tile may
            reach beyond it, and is cut off there.
        size: side of the mosaic in pixels.
        shown: bool (h, h), which labelled pixels of each tile are painted.
    """
    image = _mean_background(tiles, size)
    weights = np.full((size, size), FLOOR, np.float32)
    labels = np.full((size, size), BACKGROUND, np.uint8)
    for tile, own, corner in zip(tiles, shown, corners, strict=True):
        image, weights = _blended(image, weights, tile, corner, own)
    boxes = []
    for (cell, mask), own, corner in zip(tiles, shown, corners, strict=True):
        on_mosaic, on_tile = common_area(corner, mask.shape, size)
        painted = own[on_tile]
        image[on_mosaic][painted] = cell[on_tile][painted]
        labels[on_mosaic][painted] = mask[on_tile][painted]
        if own.any():
            (x, y), (x0, y0, x1, y1) = corner, cell_box(own)
            edges = (x + x0, y + y0, x + x1, y + y1)
            boxes.append(tuple(min(max(0, edge), size) for edge in edges))
        else:
            boxes.append((0, 0, 0, 0))
    return Mosaic(image, labels, boxes)


def common_area(corner: Corner, shape: tuple[int, int], size: int):
    """Index the pixels that mosaic and tile share: in the mosaic, and in the tile."""
    (x, y), (height, width) = corner, shape
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = max(y0, min(size, y + height)), max(x0, min(size, x + width))
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]


def _mean_background(tiles: Sequence[Tile], size: int) -> np.ndarray:
    colours = [
        cv2.mean(cell, (mask == BACKGROUND).view("u1"))[:3]
        for cell, mask in tiles
        if (mask == BACKGROUND).any()
    ]
    colour = np.mean(colours, axis=0) if colours else np.full(3, 230)
    return np.full((size, size, 3), np.round(colour), np.uint8)


def _blended(image, weights, tile: Tile, corner: Corner, shown: np.ndarray):
    cell, mask = tile
    size, side, (x, y) = len(image), len(mask), corner
    marked, shown = (mask != BACKGROUND).view("u1"), shown.astype("u1")
    if not marked.any():  # distances need something to count from
        marked[side // 2, side // 2] = shown[side // 2, side // 2] = 1
    rows, columns = (_mirrored(np.arange(size) - start, side) for start in (y, x))
    on_mosaic, on_tile = common_area(corner, mask.shape, size)
    own, mirrored = np.ones((size, size), np.uint8), 1 - marked[rows][:, columns]
    own[on_mosaic] = 1 - shown[on_tile]
    # What is shown is painted over; any other leukocyte must fade out, as a mirror
    # image does.
    mirrored[on_mosaic] |= shown[on_tile]
    if not shown.any():
        own[:] = mirrored
    away = _distance(own) / (REACH * side)
    # The fade is raised to a power like the distance, or it would show as an edge
    # wherever the other tiles weigh a thousandth.
    room = max(1, round(ROOM * side))
    clear = np.clip((_distance(mirrored) - room) / (FADE * side), 0, 1)
    weight = clear / (1 + away)
    for _ in range(3):  # to the power of 8
        np.square(weight, out=weight)
    total = weights + weight
    share = weight / total
    return cv2.blendLinear(image, cell[rows][:, columns], 1 - share, share), total


def _distance(clear: np.ndarray) -> np.ndarray:
    """Return the distance in pixels to the nearest 0; large where there is none."""
    if clear.all():
        return np.full(clear.shape, 2.0 * len(clear), np.float32)
    return cv2.distanceTransform(clear, cv2.DIST_L2, 3)


def _mirrored(positions: np.ndarray, side: int) -> np.ndarray:
    turn = np.mod(positions, 2 * side)
    return np.minimum(turn, 2 * side - 1 - turn)


# A channel is brightened or darkened by this factor at most.
MAX_GAIN = 1.6
# Radii of platelets as shares of a tile's side, in which a red cell is about 0.23 wide.
RADII = (0.025, 0.06)
# Share of a cell's pixels, the darkest, that are taken for its nucleus.
NUCLEUS = 0.25
# How far a cell is moved, as a share of its side, until it only touches another.
STEP = 1 / 40
# Share of a cell that a neighbour may hide.
HIDDEN = 0.05
TRIES = 20


@dataclass(frozen=True)
class SmearOdds:
    """Probabilities of what a smear shows.

    Raises:
        ValueError: if a number is no probability, or ``platelets`` below 0.
    """

    bare: float = 0.08  # that a mosaic has no leukocyte
    touching: float = 0.3  # that a cell is put against another one
    cut: float = 0.2  # that a cell is cut off by the mosaic's border
    platelets: float = 1.5  # mean number of them per area of one tile
    light: float = 0.8  # that all cells of a mosaic are brought into one light

    def __post_init__(self):
        shares = (self.bare, self.touching, self.cut, self.light)
        if min(astuple(self)) < 0 or max(*shares, self.touching + self.cut) > 1:
            raise ValueError(
                f"{self}; expected probabilities, of which touching and cut together "
                "are at most 1, and 0 or more platelets"
            )


def lay_smear(
    tiles: Sequence[Tile],
    *,
    n: int,
    size: int,
    rng: np.random.Generator,
    odds: SmearOdds,
) -> Mosaic:
    """Put several cells, one or none, on a background blended from all tiles.

    A cell is alone, against another one, or cut off by the border; a cell that its
    own tile cuts off is at the border with that side. Platelets are painted where no
    leukocyte is; they are background. The box of a cell that is not shown, or that
    found no place, is empty.

    Args:
        tiles: at most n x n images with their labels, all squares of ``size // n``.
        n: tiles along a side.
        size: side of the mosaic in pixels.
        rng: of everything that is drawn.
        odds: of what is shown.
    """
    side = size // n
    if rng.random() < odds.light:
        tiles = in_common_light(tiles, leader=int(rng.integers(len(tiles))))
    count = 0 if rng.random() < odds.bare else int(rng.integers(1, len(tiles) + 1))
    taken = np.zeros((size, size), bool)
    corners, shown = [], []
    for number, (_, labels) in enumerate(tiles):
        corner, cell = None, main_piece(labels)
        if number < count:
            corner = _place(cell, taken, odds=odds, rng=rng)
        if corner is None:
            corner = tuple(int(v) for v in rng.integers(1 - side, size, 2))
            shown.append(np.zeros_like(cell))
        else:
            shown.append(cell | (labels == IGNORE_LABEL))
        corners.append(corner)
    mosaic = paint_tiles(tiles, corners, size=size, shown=shown)
    platelets = int(rng.poisson(odds.platelets * n * n))
    paint_platelets(mosaic.image, mosaic.labels, tiles, count=platelets, rng=rng)
    return mosaic


def main_piece(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of the largest connected leukocyte of a tile, (H, W) bool.

    Augmentation fills the tile with mirrored pieces of the cell.
    """
    cells = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(cells.view("u1"))
    if count < 2:
        return cells
    return pieces == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())


def _place(
    marked: np.ndarray, taken: np.ndarray, *, odds: SmearOdds, rng
) -> Corner | None:
    if not marked.any():
        return None
    side, size, (x0, y0, x1, y1) = len(marked), len(taken), cell_box(marked)
    draw = rng.random()
    whole = min(x0, y0) > 0 and max(x1, y1) < side
    for _ in range(TRIES):
        if whole and draw < odds.touching and taken.any():
            found = _against(marked[y0:y1, x0:x1], taken, rng)
        elif whole and draw < odds.touching + odds.cut:
            found = _cut_off(x1 - x0, y1 - y0, size, rng)
        else:
            x = _draw_start(x0, x1, side, size, rng)
            found = x, _draw_start(y0, y1, side, size, rng)
        if found is None:
            continue
        corner = (found[0] - x0, found[1] - y0)
        if _hidden(marked, taken, corner) <= HIDDEN * marked.sum():
            on_mosaic, on_tile = common_area(corner, marked.shape, size)
            taken[on_mosaic] |= marked[on_tile]
            return corner
    return None


def _draw_start(start: int, end: int, side: int, size: int, rng) -> int:
    # A cell that its tile cuts off is put at the border of the mosaic; elsewhere the
    # cut would be an edge in the picture.
    last = max(0, size - (end - start))
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _cut_off(width: int, height: int, size: int, rng) -> Corner:
    """Return the corner of a box of which the border hides 15 to 70 %."""
    corner = [int(rng.integers(0, max(1, size - s + 1))) for s in (width, height)]
    axis, lost = int(rng.integers(2)), rng.uniform(0.15, 0.7)
    extent = (width, height)[axis]
    before = -round(lost * extent)
    corner[axis] = before if rng.random() < 0.5 else size - extent - before
    return corner[0], corner[1]


def _against(cell: np.ndarray, taken: np.ndarray, rng) -> Corner | None:
    """Return the corner at which a cell just touches another, on a random side."""
    rows, columns = np.nonzero(taken)
    pick = int(rng.integers(len(rows)))
    angle = rng.uniform(0, 2 * np.pi)
    step = max(1.0, STEP * max(cell.shape))
    height, width = cell.shape
    for away in np.arange(0, 2 * max(cell.shape), step):
        x = round(columns[pick] + away * np.cos(angle) - width / 2)
        y = round(rows[pick] + away * np.sin(angle) - height / 2)
        if _hidden(cell, taken, (x, y)) <= HIDDEN * cell.sum():
            inside = 0 <= x <= len(taken) - width and 0 <= y <= len(taken) - height
            return (x, y) if inside else None
    return None


def _hidden(marked: np.ndarray, taken: np.ndarray, corner: Corner) -> int:
    on_mosaic, on_tile = common_area(corner, marked.shape, len(taken))
    return int((marked[on_tile] & taken[on_mosaic]).sum())


def in_common_light(tiles: Sequence[Tile], *, leader: int) -> list[Tile]:
    """Return tiles of the leader's background colour, by a gain per channel."""
    colours = [_background_colour(tile) for tile in tiles]
    target = colours[leader]
    if target is None:
        return list(tiles)
    return [
        tile if colour is None else (_with_gain(tile[0], target / colour), tile[1])
        for tile, colour in zip(tiles, colours, strict=True)
    ]


def _background_colour(tile: Tile) -> np.ndarray | None:
    image, labels = tile
    bare = image[labels == BACKGROUND]
    return np.maximum(bare.mean(axis=0), 1) if len(bare) else None


def _with_gain(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    levels = np.arange(256)[:, None] * np.clip(gain, 1 / MAX_GAIN, MAX_GAIN)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)


def paint_platelets(
    image: np.ndarray,
    labels: np.ndarray,
    tiles: Sequence[Tile],
    *,
    count: int,
    rng: np.random.Generator,
) -> None:
    """Try to paint platelets on the background of an image, in place.

    A platelet is an uneven ellipse with a soft edge and a granular middle, in a colour
    between that of a nucleus of the tiles and what is under it. A platelet that would
    touch a leukocyte, or a pixel to ignore, is left out.
    """
    colours = [c for tile in tiles if (c := _nucleus_colour(tile)) is not None]
    if not colours:
        return
    side = len(tiles[0][1])
    height, width = labels.shape
    for _ in range(count):
        radius = max(1.5, side * rng.uniform(*RADII))
        reach = int(np.ceil(2 * radius)) + 1
        if min(height, width) <= 2 * reach:
            break
        x = int(rng.integers(reach, width - reach))
        y = int(rng.integers(reach, height - reach))
        where = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
        if (labels[where] != BACKGROUND).any():
            continue
        colour = colours[int(rng.integers(len(colours)))]
        image[where] = _with_platelet(image[where], colour, radius, rng)


def _nucleus_colour(tile: Tile) -> np.ndarray | None:
    """Return the mean colour of a cell's darkest pixels, None without a cell."""
    cell, mask = tile
    pixels = cell[(mask != BACKGROUND) & (mask != IGNORE_LABEL)]
    if not len(pixels):
        return None
    light = pixels.sum(axis=1, dtype=np.int64)
    return pixels[light <= np.quantile(light, NUCLEUS)].mean(axis=0)


def _with_platelet(
    patch: np.ndarray, colour: np.ndarray, radius: float, rng
) -> np.ndarray:
    side = len(patch)
    noise = cv2.GaussianBlur(
        rng.normal(size=(side, side)).astype(np.float32), (0, 0), max(0.6, radius / 4)
    )
    noise /= max(float(noise.std()), 1e-6)
    rows, columns = np.mgrid[:side, :side] - side // 2
    angle, squeeze = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / squeeze
    away = np.hypot(along, across) / radius + 0.12 * noise
    # 1 inside, 0 outside, over about a third of the radius.
    cover = np.clip((1.15 - away) * 3, 0, 1)
    depth = cover * np.clip(rng.uniform(0.35, 0.8) + 0.15 * noise, 0, 1)
    mixed = patch + depth[..., None] * (colour - patch)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
