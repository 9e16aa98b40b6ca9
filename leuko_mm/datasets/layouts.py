"""Where the cells of a mosaic lie: on a grid, scattered, or as in a smear.

On a grid every cell is in the middle of its tile and every border is straight and
in the same place, which a network can learn instead of cells.

Prepared cells stand alone in the middle of their image. A network that learns from
nothing else takes every purple thing for a leukocyte, and two that touch for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL

Tile = tuple[np.ndarray, np.ndarray]
Box = tuple[int, int, int, int]


class LaidMosaic(NamedTuple):
    """A mosaic, and the box (x0, y0, x1, y1) of each place in its pixels."""

    image: np.ndarray
    labels: np.ndarray
    boxes: list[Box]


def tile_edges(size: int, n: int) -> list[int]:
    """Return the n + 1 edges of the tiles along one side, round(i * size / n).

    Example:
        >>> tile_edges(512, 3)
        [0, 171, 341, 512]
    """
    return [round(i * size / n) for i in range(n + 1)]


def lay_grid(
    cells: Sequence[int | None],
    tile_of: Callable[[int, int, int], Tile],
    *,
    n: int,
    size: int,
    fill: int,
) -> LaidMosaic:
    """Put n x n cells beside one another, row by row.

    Args:
        cells: one a place; None leaves the place empty.
        tile_of: from (cell, height, width) to its image and labels of that size.
        n: tiles along a side.
        size: side of the mosaic in pixels.
        fill: grey level of empty places, 0-255.

    Shape:
        tiles (h, w, 3) and (h, w) -> image (size, size, 3), labels (size, size).

    Example:
        >>> grey = lambda cell, h, w: (np.full((h, w, 3), cell, "u1"), np.eye(h, w))
        >>> laid = lay_grid([7, None, 8, 9], grey, n=2, size=4, fill=0)
        >>> laid.image[..., 0].tolist()
        [[7, 7, 0, 0], [7, 7, 0, 0], [8, 8, 9, 9], [8, 8, 9, 9]]
        >>> laid.boxes[1]
        (2, 0, 4, 2)
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
    return LaidMosaic(image, labels, boxes)


# A channel is brightened or darkened by this factor at most.
MOST = 1.6


def in_common_light(tiles: Sequence[Tile], *, leader: int) -> list[Tile]:
    """Give every tile the background colour of one of them, by a gain a channel.

    Args:
        tiles: images with their labels; they are left as they are.
        leader: whose background the others take.

    Returns:
        New images with the same labels; a tile without background is as it was.

    Example:
        >>> dark, light = (np.full((4, 4, 3), v, np.uint8) for v in (100, 150))
        >>> labels = np.zeros((4, 4), np.uint8)
        >>> tiles = in_common_light([(dark, labels), (light, labels)], leader=1)
        >>> [int(image[0, 0, 0]) for image, _ in tiles]
        [150, 150]
    """
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
    levels = np.arange(256)[:, None] * np.clip(gain, 1 / MOST, MOST)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)


# Radii as shares of a tile's side, in which a red cell is about 0.23 wide.
RADII = (0.025, 0.06)
# Share of a cell's pixels, the darkest, that are taken for its nucleus.
NUCLEUS = 0.25


def paint_platelets(
    image: np.ndarray,
    labels: np.ndarray,
    tiles: Sequence[Tile],
    *,
    count: int,
    rng: np.random.Generator,
) -> int:
    """Paint platelets on the background of an image, in place.

    A platelet is an uneven ellipse with a soft edge and a granular middle, between the
    colour of a nucleus and that of what it lies on. One that would touch a leukocyte,
    or a pixel whose label is to be ignored, is left out.

    Args:
        image: uint8 (H, W, 3).
        labels: (H, W); read only, since platelets are background.
        tiles: where the colours of nuclei come from, in the image's stain.
        count: how many to try.
        rng: of places, shapes and colours.

    Returns:
        How many were painted.

    Example:
        >>> image = np.full((64, 64, 3), 200, np.uint8)
        >>> labels = np.zeros((64, 64), np.uint8)
        >>> cell, mask = np.full((32, 32, 3), 80, np.uint8), np.full((32, 32), 3, "u1")
        >>> rng = np.random.default_rng(0)
        >>> painted = paint_platelets(image, labels, [(cell, mask)], count=5, rng=rng)
        >>> painted, image.min() < 200, labels.any()
        (5, np.True_, np.False_)
    """
    colours = [c for tile in tiles if (c := _nucleus_colour(tile)) is not None]
    if not colours:
        return 0
    side, painted = len(tiles[0][1]), 0
    for _ in range(count):
        radius = max(1.5, side * rng.uniform(*RADII))
        reach = int(np.ceil(2 * radius)) + 1
        height, width = labels.shape
        if min(height, width) <= 2 * reach:
            break
        x = int(rng.integers(reach, width - reach))
        y = int(rng.integers(reach, height - reach))
        where = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
        if (labels[where] != BACKGROUND).any():
            continue
        colour = colours[int(rng.integers(len(colours)))]
        image[where] = _painted(image[where], colour, radius, rng)
        painted += 1
    return painted


def _nucleus_colour(tile: Tile) -> np.ndarray | None:
    """Return the mean colour of a cell's darkest pixels, None without a cell."""
    cell, mask = tile
    pixels = cell[(mask != BACKGROUND) & (mask != IGNORE_LABEL)]
    if not len(pixels):
        return None
    light = pixels.sum(axis=1, dtype=np.int64)
    darkest = pixels[light <= np.quantile(light, NUCLEUS)]
    return darkest.mean(axis=0)


def _painted(patch: np.ndarray, colour: np.ndarray, radius: float, rng) -> np.ndarray:
    """Return a patch of background with a platelet in its middle."""
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


# How often a free place is looked for before the cells go into slots of their own.
TRIES = 60
# How fast a cell's surroundings give way to those of the next cell: the weight at a
# distance of d pixels is (1 + d / REACH of the tile's side) ** -8.
REACH = 1 / 16
# Over which share of the side a tile fades out towards a mirror image of its cell.
FADE = 1 / 6
# Of the mean colour, which is seen only where every tile shows a leukocyte.
FLOOR = 1e-20
# Room around each cell that no other one enters, as a share of the tile's side.
ROOM = 1 / 32


def lay_scattered(
    tiles: Sequence[Tile], *, n: int, size: int, rng: np.random.Generator
) -> LaidMosaic:
    """Put cells at random places of one background that is blended of their own.

    Every cell has the size that it has in its tile, and none overlaps another; one
    that its tile cuts off stands at the border of the mosaic. Where cells are so large
    that no free place is found, each moves within a slot of its own. Every other pixel
    is the blend of the tiles, mirrored over the whole mosaic: near a cell its own
    surroundings, between two cells a smooth change. Leukocytes do not enter the blend.

    Args:
        tiles: at most n x n images with their labels, all squares of one side.
        n: the tiles' side is that of n on a side of the mosaic, ``size // n``.
        size: side of the mosaic in pixels.
        rng: of the places.

    Returns:
        The mosaic; a cell's box holds its labelled pixels and those of no other cell.
        The labels are exact, and so is the image wherever a label stands.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).

    Example:
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 8), np.uint8)
        >>> image[3:5, 3:5], labels[3:5, 3:5] = 90, 5
        >>> rng = np.random.default_rng(0)
        >>> laid = lay_scattered([(image, labels)] * 3, n=2, size=16, rng=rng)
        >>> (laid.labels == 5).sum(), (laid.image[laid.labels == 5] == 90).all()
        (np.int64(12), np.True_)
    """
    side = size // n
    inside = [cell_box(labels) for _, labels in tiles]
    room = max(1, round(ROOM * side))
    corners = _free_places(inside, side, size, room, rng)
    if corners is None:
        corners = _slots(inside, n, side, rng)
    return paint_tiles(tiles, corners, size=size, room=room)


def paint_tiles(
    tiles: Sequence[Tile],
    corners: Sequence[tuple[int, int]],
    *,
    size: int,
    room: int,
    kept: Sequence[np.ndarray] | None = None,
) -> LaidMosaic:
    """Paint one background of all tiles, and their cells on it.

    Args:
        tiles: images with their labels, all squares of one side.
        corners: (x, y) of each tile's upper left corner in the mosaic; a tile may
            reach beyond it, and is cut off there.
        size: side of the mosaic in pixels.
        room: pixels around a cell over which no other tile's surroundings begin.
        kept: which pixels of each tile are painted where they stand; None: all that
            are labelled. Labelled pixels that are not kept are shown nowhere.

    Returns:
        The mosaic; where two cells meet, the later one stands in front. A box holds
        what is kept of its tile, as far as it is in the mosaic.

    Shape:
        tiles (h, h, 3) and (h, h), kept (h, h) bool -> image (size, size, 3), labels
        (size, size).
    """
    image = _background(tiles, size)
    weights = np.full((size, size), FLOOR, np.float32)
    labels = np.full((size, size), BACKGROUND, np.uint8)
    if kept is None:
        kept = [mask != BACKGROUND for _, mask in tiles]
    for tile, own, corner in zip(tiles, kept, corners, strict=True):
        image, weights = _blended(image, weights, tile, corner, room, own)
    boxes = []
    for (cell, mask), own, corner in zip(tiles, kept, corners, strict=True):
        on_mosaic, on_tile = _seen(corner, len(mask), size)
        shown = own[on_tile]
        image[on_mosaic][shown] = cell[on_tile][shown]
        labels[on_mosaic][shown] = mask[on_tile][shown]
        boxes.append(_within(cell_box(own), corner, size))
    return LaidMosaic(image, labels, boxes)


def _within(box: Box, corner: tuple[int, int], size: int) -> Box:
    (x, y), (x0, y0, x1, y1) = corner, box
    return (
        *(min(max(0, start), size) for start in (x + x0, y + y0)),
        *(min(max(0, end), size) for end in (x + x1, y + y1)),
    )


def cell_box(labels: np.ndarray) -> Box:
    """Return the box of all labelled pixels; of an empty tile, its middle pixel."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        y, x = labels.shape[0] // 2, labels.shape[1] // 2
        return x, y, x + 1, y + 1
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _free_places(
    inside: Sequence[Box], side: int, size: int, room: int, rng
) -> list[tuple[int, int]] | None:
    """Return the upper left corner of each tile, or None if a cell finds no place."""
    corners: dict[int, tuple[int, int]] = {}
    taken: list[Box] = []
    by_extent = sorted(range(len(inside)), key=lambda i: -_extent(inside[i]))
    for cell in by_extent:
        x0, y0, x1, y1 = inside[cell]
        for _ in range(TRIES):
            x = _drawn_start(x0, x1, side, size, rng)
            y = _drawn_start(y0, y1, side, size, rng)
            box = (x - room, y - room, x + x1 - x0 + room, y + y1 - y0 + room)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                corners[cell] = (x - x0, y - y0)
                break
        else:
            return None
    return [corners[cell] for cell in range(len(inside))]


def _drawn_start(start: int, end: int, side: int, size: int, rng) -> int:
    """Return where along one axis a cell begins.

    One that its tile cuts off is cut off by the mosaic as well: anywhere else, the
    cut would be an edge in the middle of the picture.
    """
    last = size - (end - start)
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _extent(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _slots(inside, n: int, side: int, rng) -> list[tuple[int, int]]:
    """Return corners that put each cell somewhere into a slot of its own."""
    corners = []
    for slot, (x0, y0, x1, y1) in zip(rng.permutation(n * n), inside, strict=False):
        row, column = divmod(int(slot), n)
        x = column * side + int(rng.integers(0, side - (x1 - x0) + 1))
        y = row * side + int(rng.integers(0, side - (y1 - y0) + 1))
        corners.append((x - x0, y - y0))
    return corners


def _background(tiles: Sequence[Tile], size: int) -> np.ndarray:
    """Return the mean colour of all backgrounds, for where no tile has any."""
    bare = [
        cv2.mean(cell, (mask == BACKGROUND).view("u1"))[:3]
        for cell, mask in tiles
        if (mask == BACKGROUND).any()
    ]
    colour = np.mean(bare, axis=0) if bare else np.full(3, 230)
    return np.full((size, size, 3), np.round(colour), np.uint8)


def _blended(image, weights, tile: Tile, corner, room: int, kept: np.ndarray):
    """Add a tile, mirrored over the whole mosaic, to the weighted mean so far."""
    cell, mask = tile
    size, side, (x, y) = len(image), len(mask), corner
    marked, kept = (mask != BACKGROUND).view("u1"), kept.astype("u1")
    if not marked.any():  # distances need something to count from
        marked[side // 2, side // 2] = kept[side // 2, side // 2] = 1
    rows, columns = (_mirrored(np.arange(size) - start, side) for start in (y, x))
    on_mosaic, on_tile = _seen(corner, side, size)
    own, mirrored = np.ones((size, size), np.uint8), 1 - marked[rows][:, columns]
    own[on_mosaic] = 1 - kept[on_tile]
    # What is kept is painted over; the rest is as foreign here as a mirror image.
    mirrored[on_mosaic] |= kept[on_tile]
    if not kept.any():
        own[:] = mirrored
    away = _distance(own) / (REACH * side)
    # The fade is raised like the distance, or it would show as an edge wherever the
    # other tiles weigh a thousandth.
    clear = np.clip((_distance(mirrored) - room) / (FADE * side), 0, 1)
    weight = clear / (1 + away)
    for _ in range(3):  # to the power of 8
        np.square(weight, out=weight)
    total = weights + weight
    share = weight / total
    shown = cell[rows][:, columns]
    return cv2.blendLinear(image, shown, 1 - share, share), total


def _distance(clear: np.ndarray) -> np.ndarray:
    """Return how many pixels each one is from the nearest 0; far, where there is none.

    Args:
        clear: uint8 of 0 and 1.
    """
    if clear.all():
        return np.full(clear.shape, 2.0 * len(clear), np.float32)
    return cv2.distanceTransform(clear, cv2.DIST_L2, 3)


def _mirrored(positions: np.ndarray, side: int) -> np.ndarray:
    """Return positions on an endless row of mirror images, as positions in one."""
    turn = np.mod(positions, 2 * side)
    return np.minimum(turn, 2 * side - 1 - turn)


def _seen(corner, side: int, size: int):
    """Return the part of the mosaic that a tile covers, and that part of the tile."""
    x, y = corner
    y0, y1, x0, x1 = max(0, y), min(size, y + side), max(0, x), min(size, x + side)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]


# How far a cell is moved, as a share of its side, until it only touches another.
STEP = 1 / 40
# Share of a cell that a neighbour may hide.
HIDDEN = 0.05


@dataclass(frozen=True)
class SmearOdds:
    """How often a smear is composed in which way.

    Args:
        bare: share of the mosaics without any leukocyte.
        touching: probability that a cell is put against another one.
        cut: probability that a cell is cut off by the mosaic's border.
        platelets: how many of them a cell's area, on the average.
        light: probability that all cells of a mosaic are brought into one light.

    Raises:
        ValueError: if a probability is none, or the number is below 0.
    """

    bare: float = 0.08
    touching: float = 0.3
    cut: float = 0.2
    platelets: float = 1.5
    light: float = 0.8

    def __post_init__(self):
        """Refuse what is no probability."""
        shares = (self.bare, self.touching, self.cut)
        together = self.touching + self.cut
        shares += (self.light,)
        numbers = (*shares, self.platelets)
        if min(numbers) < 0 or max(*shares, together) > 1:
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
    odds: SmearOdds | None = None,
) -> LaidMosaic:
    """Put one cell or several, or none, on a background blended of all tiles.

    A cell stands alone, against another one, or is cut off by the border; one that its
    own tile cuts off stands at the border with that side. Platelets are painted where
    no leukocyte is; they are background.

    Args:
        tiles: at most n x n images with their labels, all squares of one side.
        n: the tiles' side is that of n on a side of the mosaic, ``size // n``.
        size: side of the mosaic in pixels.
        rng: of everything that is drawn.
        odds: None takes the usual ones.

    Returns:
        The mosaic, with a box for every tile; that of a cell that is not shown, or
        that found no place, is empty.

    Shape:
        tiles (h, h, 3) and (h, h) -> image (size, size, 3), labels (size, size).

    Example:
        >>> image = np.full((8, 8, 3), 200, np.uint8)
        >>> labels = np.zeros((8, 8), np.uint8)
        >>> image[3:5, 3:5], labels[3:5, 3:5] = 90, 5
        >>> rng, bare = np.random.default_rng(0), SmearOdds(bare=1, platelets=0)
        >>> laid = lay_smear([(image, labels)] * 3, n=2, size=16, rng=rng, odds=bare)
        >>> laid.labels.any(), laid.boxes[0], laid.image.min()
        (np.False_, (0, 0, 0, 0), np.uint8(200))
    """
    odds = odds or SmearOdds()
    side = size // n
    if rng.random() < odds.light:
        tiles = in_common_light(tiles, leader=int(rng.integers(len(tiles))))
    shown = 0 if rng.random() < odds.bare else int(rng.integers(1, len(tiles) + 1))
    taken = np.zeros((size, size), bool)
    corners, kept = [], []
    for number, (_, labels) in enumerate(tiles):
        corner, cell = None, main_piece(labels)
        if number < shown:
            corner = _place(cell, taken, odds=odds, rng=rng)
        if corner is None:
            corner = tuple(int(v) for v in rng.integers(1 - side, size, 2))
            kept.append(np.zeros_like(cell))
        else:
            kept.append(cell | (labels == IGNORE_LABEL))
        corners.append(corner)
    room = max(1, round(ROOM * side))
    laid = paint_tiles(tiles, corners, size=size, room=room, kept=kept)
    count = int(rng.poisson(odds.platelets * n * n))
    paint_platelets(laid.image, laid.labels, tiles, count=count, rng=rng)
    nowhere = (0, 0, 0, 0)
    boxes = [
        box if own.any() else nowhere for own, box in zip(kept, laid.boxes, strict=True)
    ]
    return LaidMosaic(laid.image, laid.labels, boxes)


def main_piece(labels: np.ndarray) -> np.ndarray:
    """Return the pixels of the largest connected leukocyte of a tile.

    Augmentation mirrors what it needs beyond the tile, and with it pieces of the cell,
    cut off by straight edges.

    Shape:
        (H, W) -> (H, W) bool.

    Example:
        >>> main_piece(np.array([[3, 0, 3, 3, 255]], np.uint8)).tolist()
        [[False, False, True, True, False]]
    """
    cells = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(cells.view("u1"))
    if count < 2:
        return cells
    return pieces == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())


def _place(marked: np.ndarray, taken: np.ndarray, *, odds: SmearOdds, rng):
    """Return where a tile's corner comes to lie and mark its cell as taken, or None."""
    if not marked.any():
        return None
    side, (x0, y0, x1, y1) = len(marked), cell_box(marked)
    way = rng.random()
    whole = min(x0, y0) > 0 and max(x1, y1) < side
    for _ in range(20):
        if whole and way < odds.touching and taken.any():
            found = _against(marked[y0:y1, x0:x1], taken, rng)
        elif whole and way < odds.touching + odds.cut:
            found = _cut_off(x1 - x0, y1 - y0, len(taken), rng)
        else:
            found = _anywhere((x0, y0, x1, y1), side, len(taken), rng)
        if found is None:
            continue
        corner = (found[0] - x0, found[1] - y0)
        if _overlap_smear_layout(marked, taken, corner) <= HIDDEN * marked.sum():
            _mark(marked, taken, corner)
            return corner
    return None


def _anywhere(box, side: int, size: int, rng) -> tuple[int, int]:
    x0, y0, x1, y1 = box
    return _start(x0, x1, side, size, rng), _start(y0, y1, side, size, rng)


def _start(start: int, end: int, side: int, size: int, rng) -> int:
    last = max(0, size - (end - start))
    if start == 0 and end < side:
        return 0
    return last if end == side and start > 0 else int(rng.integers(0, last + 1))


def _cut_off(width: int, height: int, size: int, rng) -> tuple[int, int]:
    """Return the corner of a box of which the border hides 15 to 70 %."""
    corner = [int(rng.integers(0, max(1, size - s + 1))) for s in (width, height)]
    axis, lost = int(rng.integers(2)), rng.uniform(0.15, 0.7)
    extent = (width, height)[axis]
    before = -round(lost * extent)
    corner[axis] = before if rng.random() < 0.5 else size - extent - before
    return corner[0], corner[1]


def _against(cell: np.ndarray, taken: np.ndarray, rng) -> tuple[int, int] | None:
    """Return the corner at which a cell just touches what is there, on a drawn side."""
    rows, columns = np.nonzero(taken)
    pick = int(rng.integers(len(rows)))
    angle = rng.uniform(0, 2 * np.pi)
    step = max(1.0, STEP * max(cell.shape))
    height, width = cell.shape
    for away in np.arange(0, 2 * max(cell.shape), step):
        x = round(columns[pick] + away * np.cos(angle) - width / 2)
        y = round(rows[pick] + away * np.sin(angle) - height / 2)
        if _overlap_smear_layout(cell, taken, (x, y)) <= HIDDEN * cell.sum():
            inside = 0 <= x <= len(taken) - width and 0 <= y <= len(taken) - height
            return (x, y) if inside else None
    return None


def _overlap_smear_layout(marked: np.ndarray, taken: np.ndarray, corner) -> int:
    on_mosaic, on_tile = _shared(marked, len(taken), corner)
    return int((marked[on_tile] & taken[on_mosaic]).sum())


def _mark(marked: np.ndarray, taken: np.ndarray, corner) -> None:
    on_mosaic, on_tile = _shared(marked, len(taken), corner)
    taken[on_mosaic] |= marked[on_tile]


def _shared(marked: np.ndarray, size: int, corner):
    (x, y), (height, width) = corner, marked.shape
    y0, y1, x0, x1 = max(0, y), min(size, y + height), max(0, x), min(size, x + width)
    y1, x1 = max(y0, y1), max(x0, x1)
    return np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
