"""Copies among images: by a perceptual hash, and by features that are aligned.

A copy of a training cell in the test part makes a test worthless. Comparing bytes does
not find a copy that was encoded again, rescaled, turned, or coloured in another way.
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
BITS = SIDE * SIDE - 1
# Bits of 255. Measured on the 154 cells of BCISC's training folds 1 to 3: of the 11,454
# pairs of cells from two groups none is nearer than 88 bits. The same cell stays within
# 11 as JPEG of quality 30, at 0.3 to 1.5 times its size, turned, mirrored, blurred or
# 15 % darker, and within 44 when moved by four pixels.
MAX_DISTANCE = 50

# Features of an image of this side, the strongest ones.
SMALL = 128
FEATURES = 64
# An image is compared with those that are most like it: those whose features differ
# alike from the same ones of so many.
WORDS = 64
CANDIDATES = 6
BLOCK = 256  # images compared with all at once
# Cosine of two features that may show the same, and how many must agree on where one
# image lies on the other, within so many pixels.
SAME = 0.9
AGREEING = 8
WITHIN = 3.0
SCALES = (0.55, 1.8)
# Share of the smaller image that both show, and the correlation of what both show.
# Measured on the 268 cells of BCISC, 360 of segmentation_WBC, 367 fields of BCCD and
# 2,500 cells of PBC, every one a group: different cells reach 0.77 at most, the real
# copies that are in these sets 0.86 or more. Of 200 copies of BCISC cells a kind, 192
# or more are found.
OVERLAP = 0.65
LIKENESS = 0.82
DETAIL = 8  # standard deviation, px, of what is blurred away before correlating


class NearDuplicate(NamedTuple):
    """The names of two images, and how alike they are.

    ``likeness`` is the share of equal bits of their hashes, or the correlation of
    their pixels where one lies on the other.
    """

    first: str
    second: str
    likeness: float


class Picture(NamedTuple):
    """What is kept of an image to find its copies."""

    hash: int
    small: np.ndarray  # (h, w) uint8, ``SMALL`` px on its longer side
    points: np.ndarray  # (N, 2) float32, x and y of the features
    features: np.ndarray  # (N, 128) uint8

    def mirrored(self) -> Picture:
        """Return it mirrored left to right, but for the hash.

        A feature is 4 x 4 histograms of 8 directions, along its own main direction.
        """
        turned = self.features.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8]
        points = self.points * (-1, 1) + (self.small.shape[1] - 1, 0)
        return Picture(
            self.hash,
            np.ascontiguousarray(self.small[:, ::-1]),
            points.astype(np.float32),
            turned.reshape(-1, 128),
        )

    def directions(self) -> np.ndarray:
        """Return the features (N, 128) with length 1, by the roots of their shares."""
        values = self.features.astype(np.float32)
        return np.sqrt(values / np.maximum(1, values.sum(axis=1, keepdims=True)))


def picture_of(image: np.ndarray) -> Picture:
    """Return what is kept of an image, as ``perceptual_hash`` takes it.

    Features are of the least of the three channels: another hue leaves it as it is.
    """
    value = perceptual_hash(image)
    grey = image if image.ndim == 2 else image.min(axis=2)
    scale = SMALL / max(grey.shape)
    size = [max(8, round(side * scale)) for side in grey.shape[::-1]]
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    finder = cv2.SIFT_create(nfeatures=FEATURES, contrastThreshold=0.01)
    keys, features = finder.detectAndCompute(small, _seen(small))
    if not keys:
        return Picture(value, small, *(np.zeros((0, n), np.uint8) for n in (2, 128)))
    points = np.array([key.pt for key in keys[:FEATURES]], np.float32)
    return Picture(value, small, points, features[:FEATURES].astype(np.uint8))


def find_copies(
    pictures: Mapping[str, Picture], groups: Mapping[str, str]
) -> list[NearDuplicate]:
    """Return the pairs of images of two groups that show the same, most alike first.

    Found are copies that are encoded again, brighter, of another hue, blurred,
    mirrored, turned by any angle, cropped, moved, and of 0.6 to 1.7 times the scale.
    """
    hashes = {name: picture.hash for name, picture in pictures.items()}
    pairs = near_duplicates(hashes, groups)
    known = {pair[:2] for pair in pairs}
    names = [name for name in pictures if len(pictures[name].features)]
    shown = [pictures[name] for name in names]
    for one, other, mirror in _candidates(shown, [groups[name] for name in names]):
        first, second = names[one], names[other]
        if (first, second) in known or (second, first) in known:
            continue
        target = shown[one].mirrored() if mirror else shown[one]
        likeness = _aligned_likeness(target, shown[other])
        if likeness >= LIKENESS:
            pairs.append(NearDuplicate(first, second, likeness))
    return sorted(pairs, key=lambda pair: -pair.likeness)


def _candidates(
    pictures: Sequence[Picture], groups: Sequence[str]
) -> list[tuple[int, int, bool]]:
    """Return pairs of indices, and whether the first is to be mirrored.

    **Reference**: Jegou et al. 2010, aggregating local descriptors (VLAD). Differs:
    the words are features of the images themselves, not means of clusters.
    """
    if len(set(groups)) < 2:
        return []
    features = [picture.directions() for picture in pictures]
    every = np.concatenate(features)
    words = every[np.linspace(0, len(every) - 1, min(WORDS, len(every))).astype(int)]
    plain = np.array([_aggregated(one, words) for one in features])
    number = np.unique(groups, return_inverse=True)[1]
    found: dict[tuple[int, int], bool] = {}
    for start in range(0, len(pictures), BLOCK):
        block = pictures[start : start + BLOCK]
        turned = np.array(
            [_aggregated(o.mirrored().directions(), words) for o in block]
        )
        kept, flipped = plain[start : start + BLOCK] @ plain.T, turned @ plain.T
        best = np.maximum(kept, flipped)
        best[number[start : start + BLOCK, None] == number] = -1
        for row, others in enumerate(np.argsort(-best)[:, :CANDIDATES].tolist()):
            for other in (n for n in others if best[row, n] > -1):
                pair = min(start + row, other), max(start + row, other)
                mirror = flipped[row, other] > kept[row, other]
                found.setdefault(pair, bool(mirror))
    return [(*pair, mirror) for pair, mirror in sorted(found.items())]


def _aggregated(features: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the sums of what features differ by from their words, of length 1."""
    nearest = (features @ words.T).argmax(axis=1)
    sums = np.zeros_like(words)
    np.add.at(sums, nearest, features - words[nearest])
    sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-6
    return sums.ravel() / (np.linalg.norm(sums) + 1e-6)


def _aligned_likeness(one: Picture, other: Picture) -> float:
    """Return the correlation of two images where one lies on the other, or 0."""
    cosines = one.directions() @ other.directions().T
    nearest = cosines.argmax(axis=1)
    alike = np.flatnonzero(cosines.max(axis=1) > SAME)
    if len(alike) < AGREEING:
        return 0
    matrix, agree = cv2.estimateAffinePartial2D(
        other.points[nearest[alike]],
        one.points[alike],
        ransacReprojThreshold=WITHIN,
        maxIters=200,
    )
    if matrix is None:
        return 0
    different = set(nearest[alike][agree.ravel() > 0].tolist())
    area = np.linalg.det(matrix[:, :2])
    if len(different) < AGREEING or not SCALES[0] < area**0.5 < SCALES[1]:
        return 0
    return _correlation(one.small, other.small, matrix)


def _seen(grey: np.ndarray) -> np.ndarray:
    """Return 0 where it is black or white, as the fill of a turned image is, else 1."""
    plain = ((grey > 0) & (grey < 255)).astype(np.uint8)
    return cv2.erode(plain, np.ones((3, 3), np.uint8))


def _correlation(one: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> float:
    size = one.shape[::-1]
    area = other.size * np.linalg.det(matrix[:, :2])
    moved = cv2.warpAffine(other, matrix, size)
    inside = cv2.warpAffine(np.ones_like(other), matrix, size)
    if inside.sum() < OVERLAP * min(one.size, area):
        return 0
    seen = cv2.warpAffine(_seen(other), matrix, size) & _seen(one)
    seen = cv2.erode(seen, np.ones((3, 3), np.uint8))  # the edge is mixed with black
    weights = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), DETAIL) + 1e-6
    details = []
    for image in (one, moved):
        image = cv2.GaussianBlur(image, (0, 0), 1).astype(np.float32)
        coarse = cv2.GaussianBlur(image * seen, (0, 0), DETAIL) / weights
        values = (image - coarse)[seen > 0]
        details.append(values - values.mean() if len(values) else values)
    a, b = details
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1 else 0


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
                likeness = 1 - int(distances[other]) / BITS
                pairs.append(NearDuplicate(name, second, likeness))
    return sorted(pairs, key=lambda pair: -pair.likeness)


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
