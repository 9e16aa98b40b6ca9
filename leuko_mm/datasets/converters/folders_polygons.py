"""From outlines to pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.datasets.converters.folders_annotation import Patch


def fill_rings(
    key: str, rings: Sequence[Sequence], *, height: int, width: int
) -> Patch:
    """Fill closed outlines: a pixel is inside if its middle is.

    The middle of the pixel in column x lies at x + 0.5: outlines that run along the
    edges of pixels give exactly these pixels again. Rings are taken together by the
    even-odd rule, so that a ring inside another one is a hole.

    Args:
        key: label of the patch.
        rings: of (x, y) points, in pixels from the image's upper left corner.
        height, width: of the image; what lies outside is cut off.

    Raises:
        ValueError: if a ring has fewer than three points, or a point is no pair of
            finite numbers.

    Example:
        >>> square = [(1, 0), (3, 0), (3, 2), (1, 2)]
        >>> patch = fill_rings("a", [square], height=2, width=4)
        >>> patch.x, patch.y, patch.inside.tolist()
        (1, 0, [[True, True], [True, True]])
    """
    outlines = [_points(ring) for ring in rings]
    if not outlines:
        raise ValueError("an outline without points")
    everything = np.concatenate(outlines)
    # Clipped before they become whole numbers: a point may lie anywhere.
    low = np.clip(np.floor(everything.min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(everything.max(0)), 0, (width, height)).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    # The row's parity changes at every crossing of an edge with its middle line.
    crossings = np.zeros((max(0, y1 - y0), max(0, x1 - x0) + 1), np.int32)
    for outline in outlines:
        ends = np.roll(outline, -1, axis=0)
        for (ax, ay), (bx, by) in zip(outline, ends, strict=True):
            top, bottom = np.clip(np.ceil(np.sort([ay, by]) - 0.5), y0, y1).astype(int)
            if top == bottom:
                continue
            rows = np.arange(top, bottom)
            x = ax + (rows + 0.5 - ay) * (bx - ax) / (by - ay)
            columns = np.clip(np.ceil(x - 0.5), x0, x1).astype(int)
            np.add.at(crossings, (rows - y0, columns - x0), 1)
    inside = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
    return Patch(key, x0, y0, inside)


def fill_circle(key: str, centre: Sequence, edge: Sequence, limits: tuple) -> Patch:
    """Fill a circle, given its centre and a point on it.

    Args:
        key: label of the patch.
        centre, edge: (x, y) in pixels.
        limits: height and width of the image.

    Example:
        >>> fill_circle("a", (1.5, 1.5), (1.5, 0.4), (3, 3)).inside.sum()
        np.int64(5)
    """
    (x, y), (ex, ey) = _points([centre, edge, edge])[:2]
    rows, columns = np.mgrid[: limits[0], : limits[1]] + 0.5
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= (ex - x) ** 2 + (ey - y) ** 2
    return Patch(key, 0, 0, inside)


def _points(ring: Sequence) -> np.ndarray:
    try:
        points = np.array([[float(p[0]), float(p[1])] for p in ring])
    except (TypeError, ValueError, IndexError, KeyError):
        raise ValueError(f"points {str(ring)[:60]}; expected [x, y] pairs") from None
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(
            f"{len(points)} point(s) {str(ring)[:60]}; expected three or more, of "
            "finite numbers"
        )
    return points
