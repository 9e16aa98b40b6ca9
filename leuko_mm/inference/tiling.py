"""Run a network over an image of any size: overlapping tiles, blended, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from leuko_mm.transforms.enhance_windows import window_starts

# From the tile (h, w, 3) uint8 to the probability of each class, (C, h, w) float32.
Network = Callable[[np.ndarray], np.ndarray]
# From two slices to that part of the image.
Window = Callable[[slice, slice], np.ndarray]


def probability_bands(
    shape: tuple[int, int],
    window: Window,
    network: Network,
    *,
    tile: int = 512,
    overlap: int = 128,
    margin: int = 32,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the class probabilities of an image in bands of finished rows.

    An image no larger than a tile in both directions is one tile. Neighbouring
    tiles overlap; the outermost ``margin`` pixels of a tile at an inner border do
    not count, since the network could not see what is beyond, and over the rest of
    the overlap one fades into the other. Only one band of tiles is held.

    Args:
        shape: height and width at the network's scale.
        window: gives a part of the image, so that it need not exist as a whole.
        network: see ``Network``.
        tile: side of a tile in pixels.
        overlap: least overlap of neighbouring tiles in pixels.
        margin: in pixels; at most half of the overlap.

    Yields:
        The first row of a band, and the band (C, rows, W) float32; the bands follow
        each other without a gap, the probabilities of a pixel sum to 1.

    Raises:
        ValueError: if the three lengths do not fit.

    Example:
        >>> field = np.zeros((300, 50, 3), np.uint8)
        >>> half = lambda tile: np.full((2, *tile.shape[:2]), 0.5, np.float32)
        >>> bands = probability_bands(
        ...     (300, 50), lambda y, x: field[y, x], half, tile=128, overlap=64
        ... )
        >>> [(first, band.shape) for first, band in bands]
        [(0, (2, 57, 50)), (57, (2, 58, 50)), (115, (2, 57, 50)), (172, (2, 128, 50))]
    """
    if tile < 1 or not 0 <= 2 * margin <= overlap < tile:
        raise ValueError(
            f"tile={tile}, overlap={overlap}, margin={margin}; expected a margin of at "
            "most half of the overlap, and an overlap smaller than the tile"
        )
    height, width = shape
    tops, lefts = (window_starts(side, tile, overlap) for side in shape)
    rows, columns = min(tile, height), min(tile, width)
    fades_y = tile_weights(tops, rows, margin)
    fades_x = tile_weights(lefts, columns, margin)
    band: np.ndarray | None = None
    for i, top in enumerate(tops):
        for left, fade_x in zip(lefts, fades_x, strict=True):
            place = slice(left, left + columns)
            piece = network(window(slice(top, top + rows), place))
            if band is None:
                band = np.zeros((len(piece), rows, width), np.float32)
            band[:, :, place] += piece * (fades_y[i][:, None] * fade_x)
        done = rows if i == len(tops) - 1 else tops[i + 1] - top
        yield top, band[:, :done].copy()
        band[:, : rows - done] = band[:, done:].copy()
        band[:, rows - done :] = 0


def tile_weights(starts: list[int], size: int, margin: int) -> list[np.ndarray]:
    """Return each tile's weights (size,); at every pixel they sum to 1.

    Example:
        >>> [w.tolist() for w in tile_weights([0, 4], 8, 1)]
        [[1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25, 0.0], \
[0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]]
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
