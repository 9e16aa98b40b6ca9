"""Near-duplicate images: a perceptual hash, and the pairs that are close by it.

A copy of a training cell in the test part makes a test worthless. Comparing bytes does
not find a copy that was encoded again, rescaled or turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

# The hash holds the signs of the 16 x 16 lowest frequencies of a 64 x 64 picture.
SIDE = 16
PICTURE = 64
# Coefficients below this many grey levels are rounding errors, as in a blank picture.
NOTHING = 1e-2
# Bits of 255. Measured on the 154 cells of BCISC's training folds 1 to 3: of the 11,454
# pairs of cells from two groups none is nearer than 88 bits. The same cell stays within
# 11 as JPEG of quality 30, at 0.3 to 1.5 times its size, turned, mirrored, blurred or
# 15 % darker, and within 44 when moved by four pixels.
MAX_DISTANCE = 50


class NearDuplicate(NamedTuple):
    """The names of two images, and how many of 255 bits of their hashes differ."""

    first: str
    second: str
    distance: int


def perceptual_hash(image: np.ndarray) -> int:
    """Return 255 bits that survive re-encoding, rescaling and changes of light.

    Mirrors and quarter turns change the hash in a way that ``near_duplicates`` undoes.

    Shape:
        (H, W, 3) or (H, W), uint8.

    Raises:
        ValueError: if the image is empty, or of another shape or type.
    """
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not image.size or not (colour or image.ndim == 2):
        raise ValueError(
            f"the image is {image.shape} {image.dtype}; expected uint8 of shape "
            "(H, W, 3) or (H, W), and not empty"
        )
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if colour else image
    # Area averaging uses every pixel of a large image; linear would skip most.
    small = cv2.resize(grey, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:SIDE, :SIDE]
    bits = low > NOTHING
    bits[0, 0] = False  # the mean, whose sign says nothing
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicates(
    hashes: Mapping[str, int],
    groups: Mapping[str, str] | None = None,
    *,
    max_distance: int = MAX_DISTANCE,
) -> list[NearDuplicate]:
    """Return the pairs of images that show the same thing, the nearest first.

    Every image is compared with every other in eight orientations (quarter turns and
    mirrors): two seconds for 4,000 images.

    Args:
        hashes: by name.
        groups: by name; if given, pairs inside one group are left out.
        max_distance: bits that may differ, of 255.
    """
    names = list(hashes)
    words = _words([hashes[name] for name in names])
    pairs = []
    for index, name in enumerate(names[:-1]):
        distances = _distances(_orientations(hashes[name]), words[index + 1 :])
        for other in np.flatnonzero(distances <= max_distance).tolist():
            second = names[index + 1 + other]
            if groups is None or groups[name] != groups[second]:
                pairs.append(NearDuplicate(name, second, int(distances[other])))
    return sorted(pairs, key=lambda pair: pair.distance)


def across_parts(
    pairs: Sequence[NearDuplicate], parts: Mapping[str, str]
) -> list[NearDuplicate]:
    """Return the pairs whose two images are in different parts of a split."""
    return [
        pair
        for pair in pairs
        if pair.first in parts
        and pair.second in parts
        and parts[pair.first] != parts[pair.second]
    ]


def _words(hashes: Sequence[int]) -> np.ndarray:
    packed = b"".join(value.to_bytes(SIDE * SIDE // 8, "big") for value in hashes)
    return np.frombuffer(packed, np.uint64).reshape(len(hashes), SIDE * SIDE // 64)


def _orientations(value: int) -> np.ndarray:
    """Return the hashes (8, 4) of the image mirrored and turned in every way.

    A mirror changes the sign of every odd frequency along its axis, and a transposed
    image has a transposed spectrum, so no picture is needed.
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


def _distances(orientations: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the fewest differing bits: (8, 4), (N, 4) -> (N,)."""
    # One orientation at a time: (8, N, 4) at once would be large for large N.
    counts = [np.bitwise_count(one ^ words).sum(axis=1) for one in orientations]
    return np.min(counts, axis=0).astype(np.int64)
