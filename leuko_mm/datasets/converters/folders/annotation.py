"""What every form of annotation is read as: pixels with keys, and drawn things.

A key is what the file says of a pixel: a value, a colour or a label. Outlines are
filled here, because most forms but masks draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from leuko_mm.datasets.prepared import DatasetError

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, ends excluded
ROUNDING = 1.0  # pixels by which tools draw past the edge of an image
FARTHEST = 1e15  # pixels
MOST_SHARE = 1.5  # larger ones are in another unit
MIN_KEPT = 0.5  # less of an outline's box in its image is another scale or place


@dataclass(frozen=True)
class SourceImage:
    """An image below the user's folder."""

    path: Path
    relative: str  # path below the folder, with slashes
    name: str  # the same without the extension; annotations are found by it
    stem: str  # name in the dataset, unique there


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image.

    Args:
        codes: (H, W) whole numbers; 0 where nothing is annotated, and k where the
            file says ``keys[k - 1]``.
        keys: values, colours or labels, as the file has them.
        instances: key and box of everything drawn; None for masks, which draw pixels.
        cut: how many drawn things reach past the image, or hold no pixel of it, also
            because others cover them.
    """

    codes: np.ndarray
    keys: tuple[str, ...]
    instances: tuple[tuple[str, Box], ...] | None = None
    cut: int = 0

    def labels(self, targets: Mapping[str, int]) -> np.ndarray:
        """Return uint8 labels (H, W), given the label of every key."""
        table = np.array([0, *(targets[key] for key in self.keys)], np.uint8)
        return table[self.codes]

    def pixels(self) -> dict[str, int]:
        """Return how many pixels each key has, without keys that have none."""
        counts = np.bincount(self.codes.ravel(), minlength=len(self.keys) + 1)
        pairs = zip(self.keys, counts[1:].tolist(), strict=True)
        return {key: count for key, count in pairs if count}


# From the height and width of an image to its annotation.
Reader = Callable[[int, int], Annotation]


@dataclass(frozen=True)
class Annotations:
    """All annotations of a folder, not read yet, by the name of their image."""

    form: str  # for messages, as are the sources, which are files
    readers: Mapping[str, Reader]
    sources: Mapping[str, str]
    # RGB of a key, where the files give one.
    colours: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    unused: Sequence[str] = ()  # annotations without an image
    # Mask files of an image; none where outlines are drawn.
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    sized: bool = True  # whether annotations say how large their image is


@dataclass(frozen=True)
class Patch:
    """One thing drawn in an image; what lies outside the image is cut off."""

    key: str
    x: int  # of its upper left pixel
    y: int
    inside: np.ndarray  # bool (h, w)
    single: bool = True  # False for crowds, which are painted, but not cut out
    kept: float = 1.0  # share of its box that lies in the image


def expect(value: object, kind: type, what: str) -> object:
    """Return a value of a JSON file; refuse one of another kind, by its name."""
    names = {dict: "an object {...}", list: "a list [...]", str: "text"}
    if not isinstance(value, kind):
        got = "missing" if value is None else repr(value)[:40]
        raise ValueError(f"{what} is {got}; expected {names[kind]}")
    return value


def check_size(what: object, got: Sequence, height: int, width: int) -> None:
    """Refuse an annotation of (height, width) ``got`` that differs from its image.

    Numbers may be written as text.
    """
    try:
        got = [float(side) for side in got]
    except (TypeError, ValueError, OverflowError):
        raise DatasetError(
            f"{what}: height and width are "
            f"{', '.join('missing' if v is None else repr(v)[:20] for v in got)}; "
            f"expected whole numbers, {height} and {width}"
        ) from None
    if got != [height, width]:
        got = [f"{side:g}" for side in got]
        raise DatasetError(
            f"{what} has {got[1]}x{got[0]} pixels, but its image has "
            f"{width}x{height}; expected the same"
        )


def paint(patches: Iterable[Patch], height: int, width: int) -> Annotation:
    """Paint things one over the other, the last on top.

    Raises:
        ValueError: if most of a thing lies outside, or all in the first pixel.
    """
    codes = np.zeros((height, width), np.uint16)
    keys: list[str] = []
    instances, cut, empty = [], 0, True
    for patch in patches:
        if patch.kept < MIN_KEPT:
            raise ValueError(
                f"an outline of {patch.key!r} lies outside of the image of "
                f"{width}x{height} pixels by {1 - patch.kept:.0%}; expected points in "
                "pixels of this image: scale or move them, or clip them in the export"
            )
        empty = False
        cut += patch.kept < 1 or not patch.inside.any()
        patch_height, patch_width = patch.inside.shape
        x0, y0 = max(0, patch.x), max(0, patch.y)
        x1, y1 = min(width, patch.x + patch_width), min(height, patch.y + patch_height)
        if x0 >= x1 or y0 >= y1:
            continue
        inside = patch.inside[y0 - patch.y : y1 - patch.y, x0 - patch.x : x1 - patch.x]
        if not inside.any():
            continue
        if patch.key not in keys:
            keys.append(patch.key)
        codes[y0:y1, x0:x1][inside] = keys.index(patch.key) + 1
        if patch.single:
            instances.append((patch.key, box_of(inside, x0, y0)))
    cut += sum(
        not (codes[y0:y1, x0:x1] == keys.index(key) + 1).any()
        for key, (x0, y0, x1, y1) in instances
    )
    if not empty and not codes.ravel()[1:].any():
        raise ValueError(
            "all outlines lie in the first pixel or hold none; expected areas, in "
            "pixels (only YOLO has shares of the image)"
        )
    return Annotation(codes, tuple(keys), tuple(instances), cut)


def share_inside(low: np.ndarray, high: np.ndarray, size: Sequence[int]) -> float:
    """Return which share of a box lies in an image of (width, height) pixels.

    A box that reaches past the edge by less than ``ROUNDING`` lies inside.
    """
    limits = np.array(size, float)
    if (low >= -ROUNDING).all() and (high <= limits + ROUNDING).all():
        return 1.0
    kept = np.clip(high, 0, limits) - np.clip(low, 0, limits)
    with np.errstate(over="ignore"):
        return float(np.prod(kept / np.maximum(high - low, 1e-9)))


def union(key: str, patches: Sequence[Patch], height: int, width: int) -> Patch:
    """Return several patches as one thing."""
    if not patches:
        raise ValueError(f"an outline of {key!r} without points")
    if len(patches) == 1:
        return patches[0]
    inside = np.zeros((height, width), bool)
    for patch in patches:
        rows, columns = patch.inside.shape
        inside[patch.y : patch.y + rows, patch.x : patch.x + columns] |= patch.inside
    return Patch(key, 0, 0, inside, kept=min(patch.kept for patch in patches))


def box_of(inside: np.ndarray, x: int = 0, y: int = 0) -> Box:
    """Return the box around the true pixels, moved by (x, y)."""
    rows, columns = (np.flatnonzero(inside.any(axis)).tolist() for axis in (1, 0))
    return x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1


def fill_rings(
    key: str, rings: Sequence[Sequence], *, height: int, width: int
) -> Patch:
    """Fill closed outlines: a pixel is inside if its centre is.

    The centre of the pixel in column x lies at x + 0.5: outlines that run along the
    edges of pixels give exactly these pixels again. Rings are taken together by the
    even-odd rule, so that a ring inside another one is a hole.

    Raises:
        ValueError: if a ring has fewer than three points, or a point is no pair of
            finite numbers.
    """
    outlines = [as_points(ring) for ring in rings]
    if not outlines:
        raise ValueError("an outline without points")
    for points, ring in zip(outlines, rings, strict=True):
        if len(points) < 3:
            raise ValueError(
                f"an outline of {len(points)} point(s) {str(ring)[:60]}; expected "
                "three or more"
            )
    everything = np.concatenate(outlines)
    low, high = everything.min(0), everything.max(0)
    x0, y0, x1, y1 = _pixels_within(low, high, height, width)
    # A row changes between outside and inside wherever an edge crosses its centre.
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
    return Patch(key, x0, y0, inside, kept=share_inside(low, high, (width, height)))


def _pixels_within(low: np.ndarray, high: np.ndarray, height: int, width: int) -> Box:
    # Clipped before they become whole numbers: a point may lie anywhere.
    low = np.clip(np.floor(low), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(high), 0, (width, height)).astype(int)
    return *low.tolist(), *high.tolist()


def fill_circle(
    key: str, centre: Sequence, edge: Sequence, *, height: int, width: int
) -> Patch:
    """Fill a circle, given its centre and a point on it, (x, y) in pixels."""
    (x, y), (ex, ey) = as_points([centre, edge])
    radius = np.hypot(ex - x, ey - y)
    low, high = np.array([x, y]) - radius, np.array([x, y]) + radius
    x0, y0, x1, y1 = _pixels_within(low, high, height, width)
    rows, columns = np.mgrid[y0:y1, x0:x1] + 0.5
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= (ex - x) ** 2 + (ey - y) ** 2
    return Patch(key, x0, y0, inside, kept=share_inside(low, high, (width, height)))


def as_points(ring: Sequence) -> np.ndarray:
    """Return points as numbers (N, 2); refuse what is no pair of finite numbers."""
    try:
        if any(isinstance(point, str) for point in ring):
            raise TypeError
        points = np.array([[float(p[0]), float(p[1])] for p in ring])
        points = points.reshape(len(points), 2)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        raise ValueError(
            f"points {str(ring)[:60]}; expected a list of [x, y] pairs of numbers"
        ) from None
    if not (np.abs(points) < FARTHEST).all():
        raise ValueError(f"points {str(ring)[:60]}; expected finite numbers of pixels")
    return points


def points_of_shares(shares: Sequence, *, height: int, width: int) -> np.ndarray:
    """Return points in pixels, given as shares of the sides, from 0 to 1."""
    points = as_points(shares)
    if (np.abs(points) > MOST_SHARE).any():
        raise ValueError(
            f"points {str(shares)[:60]}; expected shares of the image's width and "
            "height, from 0 to 1"
        )
    return points * (width, height)
