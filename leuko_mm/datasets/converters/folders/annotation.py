"""What all forms of annotation become: a key for every pixel, and instances."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from leuko_mm.classes import BINARY_NAMES, CELL_CLASSES, CLASSES, class_id

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, ends excluded


@dataclass(frozen=True)
class FoundImage:
    """An image below the user's folder.

    Args:
        path: the file.
        relative: its path below the folder, with slashes.
        key: the same without the extension; annotations are found by it.
        stem: name in the dataset, unique there.
    """

    path: Path
    relative: str
    key: str
    stem: str


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image, in the words of its file.

    Args:
        codes: (H, W) whole numbers; 0 where nothing is annotated, and k where the
            file says ``keys[k - 1]``.
        keys: values, colours or labels, as the file has them.
        instances: key and box of every single thing drawn; None where the file
            draws no single things.
    """

    codes: np.ndarray
    keys: tuple[str, ...]
    instances: tuple[tuple[str, Box], ...] | None = None

    def labels(self, targets: Mapping[str, int]) -> np.ndarray:
        """Return uint8 labels (H, W), given the label of every key.

        Example:
            >>> Annotation(np.array([[0, 1, 2]]), ("rbc", "eos")).labels(
            ...     {"rbc": 255, "eos": 2}
            ... )
            array([[  0, 255,   2]], dtype=uint8)
        """
        table = np.array([0, *(targets[key] for key in self.keys)], np.uint8)
        return table[self.codes]

    def pixels(self) -> dict[str, int]:
        """Return the pixels of every key that has some."""
        counts = np.bincount(self.codes.ravel(), minlength=len(self.keys) + 1)
        pairs = zip(self.keys, counts[1:].tolist(), strict=True)
        return {key: count for key, count in pairs if count}


# From the height and width of an image to its annotation.
Reader = Callable[[int, int], Annotation]


@dataclass(frozen=True)
class Annotations:
    """All annotations of a folder, not read yet.

    Args:
        words: what form they have, for people.
        readers: key of an image -> reader of its annotation.
        sources: key of an image -> file (or files) of its annotation, for messages.
        colours: RGB of a key, where the files give one.
        unused: annotations without an image.
    """

    words: str
    readers: Mapping[str, Reader]
    sources: Mapping[str, str]
    colours: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    unused: Sequence[str] = ()


@dataclass(frozen=True)
class Patch:
    """One thing drawn in an image.

    Args:
        key: its label.
        x, y: place of its upper left pixel; what lies outside the image is cut off.
        inside: bool (h, w).
        single: whether it is one thing; crowds are painted, but not cut out.
    """

    key: str
    x: int
    y: int
    inside: np.ndarray
    single: bool = True


def painted(patches: Iterable[Patch], height: int, width: int) -> Annotation:
    """Paint things one over the other, the last on top.

    Example:
        >>> dot = np.ones((1, 2), bool)
        >>> annotation = painted([Patch("a", 0, 0, dot), Patch("b", 1, 0, dot)], 1, 3)
        >>> annotation.codes.tolist(), annotation.instances[1]
        ([[1, 2, 2]], ('b', (1, 0, 3, 1)))
    """
    codes = np.zeros((height, width), np.uint16)
    keys: list[str] = []
    instances = []
    for patch in patches:
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
    return Annotation(codes, tuple(keys), tuple(instances))


def box_of(inside: np.ndarray, x: int = 0, y: int = 0) -> Box:
    """Return the box around the true pixels, moved by (x, y).

    Example:
        >>> box_of(np.array([[False, True], [False, True]]), 10, 20)
        (11, 20, 12, 22)
    """
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return (
        x + int(columns[0]),
        y + int(rows[0]),
        x + int(columns[-1]) + 1,
        y + int(rows[-1]) + 1,
    )


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


BACKGROUND, LEUKOCYTE = BINARY_NAMES
IGNORE = "ignore"
# The class that the name or folder of the image says.
BY_NAME = "by-name"
SPECIAL = (BACKGROUND, LEUKOCYTE, IGNORE, BY_NAME)

_MEANINGS = {
    LEUKOCYTE: ("leukocytes", "wbc", "wbcs", "leucocyte", "leucocytes"),
    BACKGROUND: ("rbc", "rbcs", "erythrocyte", "erythrocytes", "platelet", "platelets"),
    IGNORE: ("ignored", "void", "unlabeled", "unlabelled", "unknown", "artefact"),
}
_TARGETS = {
    **{word: target for target in _MEANINGS for word in (target, *_MEANINGS[target])},
    **{word: c.name for c in CLASSES for word in (c.name, *c.aliases)},
}
# Colours this near to a class's own are taken for it: exports round.
NEAR = 40


def named_target(text: str) -> str | None:
    """Return what a label says: a class, leukocyte, background, ignore, or None.

    Example:
        >>> [named_target(t) for t in ("Eosi", "WBC: mono", "nucleus", "red cells")]
        ['eosinophil', 'monocyte', None, None]
    """
    words = re.findall(r"[a-z]+", text.lower())
    found = {_TARGETS[word] for word in words if word in _TARGETS}
    classes = found - {LEUKOCYTE, BACKGROUND, IGNORE}
    chosen = classes or found
    return chosen.pop() if len(chosen) == 1 else None


def class_by_name(relative: str) -> str | None:
    """Return the class that the nearest part of an image's path names.

    Example:
        >>> [class_by_name(p) for p in ("baso_1-1_0.jpg", "mono/7.png", "a/7.png")]
        ['basophil', 'monocyte', None]
    """
    cells = {c.name for c in CELL_CLASSES}
    bare = relative.rpartition(".")[0] or relative
    for part in reversed(bare.split("/")):
        words = re.findall(r"[a-z]+", part.lower())
        named = {_TARGETS[word] for word in words if word in _TARGETS} & cells
        if len(named) == 1:
            return named.pop()
    return None


def guess_map(
    keys: Iterable[str],
    colours: Mapping[str, tuple[int, int, int]],
    images: Sequence[str],
) -> dict[str, str | None]:
    """Return key -> target, None where there is no guess.

    Args:
        keys: values, ``#rrggbb`` colours, or labels, as they stand in the files.
        colours: RGB of keys, where a palette gives one.
        images: paths of the images, whose names may say their class.

    Example:
        >>> guess_map(["0", "255"], {}, ["baso_1.png", "mono_1.png"])
        {'0': 'background', '255': 'by-name'}
        >>> guess_map(["#000000", "#fe0000"], {}, ["1.png"])
        {'#000000': 'background', '#fe0000': 'basophil'}
    """
    keys = list(keys)
    shades = {key: _rgb(key) for key in keys if _rgb(key)}
    named = all(class_by_name(image) for image in images)
    if keys and len(shades) == len(keys):
        return _by_colour(shades, named)
    if keys and all(key.isdecimal() for key in keys):
        coloured = _by_colour({k: colours[k] for k in keys if k in colours}, named)
        if len(coloured) == len(keys) and None not in coloured.values():
            return coloured
        return _by_value(keys, named)
    return {key: _by_label(key) for key in keys}


def _by_label(key: str) -> str | None:
    targets = {named_target(part) for part in key.split("+")}
    return targets.pop() if len(targets) == 1 else None


def _by_value(keys: list[str], named: bool) -> dict[str, str | None]:
    cells = [key for key in keys if int(key)]
    guess: dict[str, str | None] = dict.fromkeys(keys)
    if "0" in guess:
        guess["0"] = BACKGROUND
    if len(cells) == 1:
        guess[cells[0]] = BY_NAME if named else _lone(cells[0])
        return guess
    ids = {str(c.id): c.name for c in CLASSES}
    if set(keys) <= {*ids, "255"}:
        guess.update({key: ids.get(key, IGNORE) for key in keys})
    return guess


def _lone(value: str) -> str:
    """Return the meaning of the only value above 0: 2 to 5 are ids of ours."""
    known = {str(c.id): c.name for c in CELL_CLASSES[1:]}
    return known.get(value, LEUKOCYTE)


def _by_colour(shades: Mapping[str, tuple], named: bool) -> dict[str, str | None]:
    guess = {key: _nearest(colour) for key, colour in shades.items()}
    lone = [key for key, target in guess.items() if target != BACKGROUND]
    white = [key for key in lone if min(shades[key]) >= 255 - NEAR]
    if len(lone) == 1 and white:
        guess[white[0]] = BY_NAME if named else LEUKOCYTE
    doubled = [t for t in guess.values() if list(guess.values()).count(t) > 1]
    return {key: None if t in doubled else t for key, t in guess.items()}


def _nearest(colour: tuple[int, int, int]) -> str | None:
    known = {c.name: c.colour for c in CLASSES}
    known[IGNORE] = (128, 128, 128)  # what this project draws ignored pixels in
    for name, own in known.items():
        if all(abs(a - b) <= NEAR for a, b in zip(colour, own, strict=True)):
            return name
    return None


def _rgb(key: str) -> tuple[int, int, int] | None:
    if not re.fullmatch(r"#[0-9a-f]{6}", key):
        return None
    return tuple(int(key[i : i + 2], 16) for i in (1, 3, 5))


def target_of(text: str) -> str:
    """Return the target that a user named in ``--map``.

    Raises:
        ValueError: if it is no class, alias or special target.

    Example:
        >>> [target_of(t) for t in ("eosi", "bg", "ignore", "by-name")]
        ['eosinophil', 'background', 'ignore', 'by-name']
    """
    name = text.strip().lower()
    if name in SPECIAL:
        return name
    try:
        return CLASSES[class_id(name)].name
    except ValueError as error:
        raise ValueError(f"{error}, or {', '.join(SPECIAL[1:])}") from None
