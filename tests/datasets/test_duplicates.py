"""Near-duplicates: what a copy may undergo and still be found, and what is no copy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.datasets.duplicates import (
    BITS,
    MAX_DISTANCE,
    across_parts,
    find_copies,
    near_duplicates,
    perceptual_hash,
    picture_of,
)


def cell_image(seed: int, side: int = 120) -> np.ndarray:
    """Return a bright field with a dark cell in its middle and soft structure."""
    rng = np.random.default_rng(seed)
    noise = cv2.resize(rng.normal(0, 40, (12, 12, 3)).astype(np.float32), (side, side))
    y, x = np.mgrid[:side, :side] - side / 2
    cell = np.hypot(x, y * rng.uniform(0.7, 1.4)) < side * rng.uniform(0.2, 0.35)
    return np.clip(200 - 80 * cell[..., None] + noise, 0, 255).astype(np.uint8)


def distance(first: np.ndarray, second: np.ndarray) -> int:
    images = {"a": np.ascontiguousarray(first), "b": np.ascontiguousarray(second)}
    hashes = {name: perceptual_hash(image) for name, image in images.items()}
    (pair,) = near_duplicates(hashes, max_distance=255)
    return round((1 - pair.likeness) * BITS)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


COPIES = {
    "same": lambda image: image,
    "jpeg": lambda image: jpeg(image, 40),
    "smaller": lambda image: cv2.resize(image, (50, 50), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (300, 300)),
    "darker": lambda image: (image * 0.85).astype(np.uint8),
    "brighter": lambda image: np.clip(image * 1.1, 0, 255).astype(np.uint8),
    "grey": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
    "turned_mirrored_jpeg": lambda image: jpeg(np.rot90(image)[::-1].copy(), 60),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_changed_copy_is_near(change):
    for seed in range(5):
        image = cell_image(seed)
        assert distance(image, COPIES[change](image)) <= MAX_DISTANCE // 2


def test_different_cells_are_not_near():
    hashes = {str(seed): perceptual_hash(cell_image(seed)) for seed in range(40)}
    assert near_duplicates(hashes) == []


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_positions_are_found_from_the_bits_alone(turns, mirrored):
    image = cell_image(3, side=64)
    moved = np.rot90(image[:, ::-1] if mirrored else image, turns)
    assert distance(image, moved) <= 2


def test_pairs_are_found_across_groups_and_parts():
    hashes = {
        "a": perceptual_hash(cell_image(1)),
        "b": perceptual_hash(jpeg(cell_image(1), 50)),
        "c": perceptual_hash(cell_image(2)),
        "d": perceptual_hash(np.ascontiguousarray(np.rot90(cell_image(2)))),
    }
    groups = {"a": "slide_1", "b": "slide_1", "c": "slide_2", "d": "slide_3"}
    assert {p[:2] for p in near_duplicates(hashes)} == {("a", "b"), ("c", "d")}
    (pair,) = near_duplicates(hashes, groups)
    assert pair[:2] == ("c", "d")
    assert across_parts([pair], {"c": "train", "d": "test"}) == [pair]
    assert across_parts([pair], {"c": "train", "d": "train"}) == []
    assert across_parts([pair], {"c": "train"}) == []


def test_the_nearest_pair_comes_first():
    hashes = {"a": 0, "far": 0b111, "near": 0b1}
    pairs = [p for p in near_duplicates(hashes) if p.first == "a"]
    assert [p.second for p in pairs] == ["near", "far"]
    assert [round(p.likeness * BITS) for p in pairs] == [BITS - 1, BITS - 3]
    assert len(near_duplicates(hashes, max_distance=1)) == 1
    assert near_duplicates({}) == near_duplicates({"a": 0}) == []


def fine_image(seed: int, side: int = 160) -> np.ndarray:
    """Return a cell of ``cell_image`` with grains, on red cells of its own."""
    rng = np.random.default_rng(seed)
    image = cell_image(seed, side)
    for colour, count in (((190, 130, 120), 12), ((70, 30, 90), 25)):
        for x, y in rng.integers(0, side, (count, 2)).tolist():
            size = int(rng.integers(3, side // 12))
            cv2.circle(image, (x, y), size, colour, -1, cv2.LINE_AA)
    return image


def turned(image, degrees: float, scale: float = 1.0, moved: float = 0.0):
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, scale)
    matrix[:, 2] += moved
    return cv2.warpAffine(image, matrix, (side, side))


def of_hue(image, degrees: int):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees // 2) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


AUGMENTED = {
    "turned": lambda image: turned(image, 13),
    "turned, black corners, JPEG": lambda image: jpeg(turned(image, -15), 60),
    "quarter turn, mirrored, turned": lambda i: turned(np.rot90(i)[:, ::-1].copy(), 8),
    "larger": lambda image: turned(image, 0, 1.25),
    "smaller": lambda image: turned(image, 0, 0.8),
    "moved": lambda image: turned(image, 0, moved=12),
    "cropped": lambda image: image[5:140, 20:155],
    "of another hue": lambda image: turned(of_hue(image, 40), 5),
    "darker": lambda image: (turned(image, 10) * 0.7).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(turned(image, 10), (0, 0), 1.2),
    "all": lambda i: jpeg(turned(of_hue(i[:, ::-1], 20), 12, 0.9, moved=4), 70),
}


@pytest.mark.parametrize("change", AUGMENTED)
def test_an_augmented_copy_is_found_among_other_cells(change):
    pictures = {str(seed): picture_of(fine_image(seed)) for seed in range(12)}
    copies = (np.ascontiguousarray(AUGMENTED[change](fine_image(n))) for n in range(6))
    pictures |= {f"copy {n}": picture_of(copy) for n, copy in enumerate(copies)}
    groups = {name: name for name in pictures}
    found = {pair[:2] for pair in find_copies(pictures, groups)}
    assert found == {(str(n), f"copy {n}") for n in range(6)}
    one = dict.fromkeys(pictures, "slide_1")
    assert find_copies(pictures, one) == []


def test_a_mirrored_picture_has_the_features_of_the_mirrored_image():
    image = fine_image(1)
    mirrored = picture_of(image).mirrored()
    again = picture_of(np.ascontiguousarray(image[:, ::-1]))
    cosines = mirrored.directions() @ again.directions().T
    assert np.median(cosines.max(axis=1)) > 0.98
    near = mirrored.points[:, None] - again.points[cosines.argmax(axis=1)][:, None]
    assert np.median(np.abs(near)) < 0.5


def test_blank_images_are_copies_of_each_other_only():
    blank = np.full((30, 40, 3), 255, np.uint8)
    assert perceptual_hash(blank) == perceptual_hash(np.full((9, 9), 3, np.uint8)) == 0
    assert distance(blank, cell_image(1)) > MAX_DISTANCE


def test_bcisc_has_no_near_duplicates_in_its_training_folds(shared_folder):
    """Measured: none of 11,454 pairs of different slides is nearer than 88 bits."""
    files = sorted((shared_folder / "datasets/BCISC/sub-images/images").glob("*.jpg"))
    hashes, groups = {}, {}
    for file in files:
        name, place = file.stem.split("_")[:2]
        slide = int(place.split("-")[0])
        if slide <= 6:
            image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            hashes[file.stem] = perceptual_hash(image)
            groups[file.stem] = f"{name}_{slide}"
    assert len(hashes) == 154
    assert near_duplicates(hashes, groups, max_distance=80) == []
    inside = near_duplicates(hashes)
    assert all(groups[p.first] == groups[p.second] for p in inside)
