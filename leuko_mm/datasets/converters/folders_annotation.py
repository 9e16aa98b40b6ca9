"""What all forms of annotation come down to: a key for every pixel, and instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

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
