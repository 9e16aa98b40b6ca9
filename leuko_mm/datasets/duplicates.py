"""Images that show the same thing twice: a perceptual hash and its neighbours.

A copy of a cell on the other side of a split lets a network be tested on what it
learnt, and no comparison of bytes finds it once it was encoded again or turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

# The hash holds the signs of the 16 x 16 lowest frequencies of a 64 x 64 picture.
SIDE = 16
PICTURE = 64
# Below this a coefficient of grey levels is rounding, as in an empty picture.
NOTHING = 1e-2

# Measured on the 154 cells of BCISC's training folds 1 to
# 3: of 11,454 pairs of cells from two groups none comes nearer than 88 bits; the same
# cell as JPEG of quality 30, at 0.3 to 1.5 times its size, turned, mirrored, blurred
# or 15 % darker stays within 11, moved by four pixels within 44.
MAX_DISTANCE = 50


class NearDuplicate(NamedTuple):
    """Two images by their names, and in how many of 255 bits their hashes differ."""

    first: str
    second: str
    distance: int


def perceptual_hash(image: np.ndarray) -> int:
    """Return 255 bits that survive re-encoding, rescaling and changes of light.

    Mirrors and quarter turns change the hash, but in a way that
    :func:`near_duplicates` knows.

    Args:
        image: uint8, RGB or grey.

    Shape:
        (H, W, 3) or (H, W).

    Raises:
        ValueError: if it is no such image.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (80, 80), np.uint8)
        >>> image = cv2.blur(noise, (9, 9))
        >>> half = cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA)
        >>> hash_distance(perceptual_hash(image), perceptual_hash(half)) < 20
        True
    """
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        raise ValueError(
            f"the image is {image.shape} {image.dtype}; expected uint8 of shape "
            "(H, W, 3) or (H, W), and not empty"
        )
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if colour else image
    # Area, not linear: a large image must not be read at a few of its pixels.
    small = cv2.resize(grey, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:SIDE, :SIDE]
    bits = low > NOTHING
    bits[0, 0] = False  # the mean, whose sign says nothing
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hash_distance(first: int, second: int) -> int:
    """Return in how many bits two hashes differ, the nearest of eight positions taken.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        >>> turned = np.ascontiguousarray(np.rot90(image))
        >>> hash_distance(perceptual_hash(image), perceptual_hash(turned))
        0
    """
    return int(_distances(_positions(first), _words([second]))[0])


def near_duplicates(
    hashes: Mapping[str, int],
    groups: Mapping[str, str] | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
) -> list[NearDuplicate]:
    """Return the pairs of images that show the same thing, the nearest first.

    Every image is held against every other in its eight positions (quarter turns
    and mirrors): two seconds for 4,000 images.

    Args:
        hashes: name -> :func:`perceptual_hash`.
        groups: name -> group; given, pairs inside one group are left out.
        max_distance: bits that may differ, of 255.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> copied = {"a": perceptual_hash(image), "b": perceptual_hash(image[:, ::-1])}
        >>> near_duplicates(copied)
        [NearDuplicate(first='a', second='b', distance=0)]
        >>> near_duplicates(copied, {"a": "slide_1", "b": "slide_1"})
        []
    """
    names = list(hashes)
    words = _words([hashes[name] for name in names])
    pairs = []
    for index, name in enumerate(names[:-1]):
        distances = _distances(_positions(hashes[name]), words[index + 1 :])
        for other in np.flatnonzero(distances <= max_distance).tolist():
            second = names[index + 1 + other]
            if groups is None or groups[name] != groups[second]:
                pairs.append(NearDuplicate(name, second, int(distances[other])))
    return sorted(pairs, key=lambda pair: pair.distance)


def across_parts(
    pairs: Sequence[NearDuplicate], parts: Mapping[str, str]
) -> list[NearDuplicate]:
    """Return the pairs whose two images stand in different parts of a split.

    Args:
        pairs: of :func:`near_duplicates`.
        parts: name -> part; an image in no part leaks nothing.

    Example:
        >>> pairs = [NearDuplicate("a", "b", 3), NearDuplicate("a", "c", 5)]
        >>> across_parts(pairs, {"a": "train", "b": "train", "c": "test"})
        [NearDuplicate(first='a', second='c', distance=5)]
    """
    return [
        pair
        for pair in pairs
        if pair.first in parts
        and pair.second in parts
        and parts[pair.first] != parts[pair.second]
    ]


def _words(hashes: Sequence[int]) -> np.ndarray:
    """Return hashes as (N, 4) 64-bit words."""
    packed = b"".join(value.to_bytes(SIDE * SIDE // 8, "big") for value in hashes)
    return np.frombuffer(packed, np.uint64).reshape(len(hashes), SIDE * SIDE // 64)


def _positions(value: int) -> np.ndarray:
    """Return the hashes (8, 4) of the image mirrored and turned every way.

    A mirror changes the sign of every odd frequency along its axis, and a
    transposed image has a transposed spectrum: no picture is needed.
    """
    packed = np.frombuffer(value.to_bytes(SIDE * SIDE // 8, "big"), np.uint8)
    bits = np.unpackbits(packed).reshape(SIDE, SIDE)
    odd = np.arange(SIDE, dtype=np.uint8) % 2
    # No mirror, left to right, top to bottom, both.
    mirrors = [bits * 0, bits * 0 + odd, bits * 0 + odd[:, None]]
    mirrors.append(mirrors[1] ^ mirrors[2])
    turned = np.array([b ^ m for b in (bits, bits.T) for m in mirrors])
    # (8, 16, 16) bits -> (8, 4) words
    return np.packbits(turned.reshape(8, -1), axis=1).view(np.uint64)


def _distances(positions: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the fewest differing bits of any position: (8, 4), (N, 4) -> (N,)."""
    # Position by position: (8, N, 4) at once would be large for large N.
    counts = [np.bitwise_count(one ^ words).sum(axis=1) for one in positions]
    return np.min(counts, axis=0).astype(np.int64)
