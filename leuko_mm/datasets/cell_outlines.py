"""From the pixels of a cell to outlines: run lengths as COCO has them, and rings.

What is written here is read back to the pixel by ``converters.folders_coco`` and
``converters.folders_polygons``.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

Ring = list[tuple[int, int]]


def run_length_text(
    inside: np.ndarray, x: int, y: int, *, height: int, width: int
) -> str:
    """Return COCO's compressed run lengths of a cell in its image.

    The image's own mask is never made, so that the size of the image costs nothing.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: place of the box's upper left pixel in the image.
        height, width: of the image.

    Raises:
        ValueError: if the box leaves the image, or nothing is inside.

    Example:
        >>> run_length_text(np.ones((2, 1), bool), 1, 0, height=2, width=3)
        '222'
    """
    h, w = inside.shape
    if x < 0 or y < 0 or x + w > width or y + h > height or not inside.any():
        raise ValueError(
            f"a box of {w}x{h} at ({x}, {y}) with {int(inside.sum())} pixels inside; "
            f"expected some, within {width}x{height}"
        )
    # Column by column: (h, w) -> (w, h), then the place of each pixel in the image.
    columns, rows = np.nonzero(inside.T)
    places = (columns.astype(np.int64) + x) * height + rows + y
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate(([0], edges, [height * width])))
    # A last run of nothing is left out by COCO's own writer, too.
    return _compressed(counts[:-1] if counts[-1] == 0 else counts)


def _compressed(counts: Iterable[int]) -> str:
    runs = [int(count) for count in counts]
    text = []
    for position, run in enumerate(runs):
        value = run - runs[position - 2] if position > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def pixel_rings(inside: np.ndarray, x: int = 0, y: int = 0) -> list[list[Ring]]:
    """Return the outlines of a cell along the edges of its pixels.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: place of the box's upper left corner in the image.

    Returns:
        For every piece (4 neighbours) its rings: the outer one, clockwise as seen, then
        its holes. A ring's first point is not repeated.

    Example:
        >>> pixel_rings(np.ones((2, 3), bool), 10, 20)
        [[[(10, 20), (13, 20), (13, 22), (10, 22)]]]
    """
    number, pieces = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    polygons = []
    for piece in range(1, number):
        rings = [_moved(ring, x, y) for ring in _traced(pieces == piece)]
        polygons.append(sorted(rings, key=_signed_area, reverse=True))
    return polygons


def _traced(inside: np.ndarray) -> list[Ring]:
    """Follow the edges between inside and outside, the inside on the right hand."""
    padded = np.pad(inside, 1)
    core = padded[1:-1, 1:-1]
    # (side's outer neighbour, its start and its end relative to the pixel's corner)
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for outer, (sx, sy), (ex, ey) in sides:
        for r, c in zip(*(part.tolist() for part in np.nonzero(core & ~outer))):  # noqa: B905
            following.setdefault((c + sx, r + sy), []).append((c + ex, r + ey))
    rings = []
    while following:
        rings.append(_ring(following))
    return rings


def _ring(following: dict) -> Ring:
    """Take one closed ring out of the edges, corners only."""
    start = here = min(following)
    ring: Ring = []
    direction = (0, 0)
    while True:
        ends = following[here]
        # Where two pixels touch by a corner alone, turn right: they are not neighbours.
        right = (here[0] - direction[1], here[1] + direction[0])
        there = right if len(ends) > 1 and right in ends else ends[0]
        ends.remove(there)
        if not ends:
            del following[here]
        step = (there[0] - here[0], there[1] - here[1])
        if step != direction:
            ring.append(here)
        here, direction = there, step
        if here == start:
            return ring


def _moved(ring: Ring, x: int, y: int) -> Ring:
    return [(px + x, py + y) for px, py in ring]


def _signed_area(ring: Ring) -> int:
    following = [*ring[1:], ring[0]]
    pairs = zip(ring, following, strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)
