"""Tiles: every pixel once, no seams, one band at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.inference.tiling import probability_bands, tile_weights
from leuko_mm.transforms.enhance_windows import window_starts


def pixelwise(tile: np.ndarray) -> np.ndarray:
    share = tile[..., 0].astype(np.float32) / 255
    return np.stack([share, 1 - share])


def local(tile: np.ndarray) -> np.ndarray:
    """A network that sees 8 pixels around each pixel."""
    plane = cv2.blur(tile[..., 0].astype(np.float32), (17, 17))
    return np.stack([plane / 255, 1 - plane / 255])


def joined(image, network, **options):
    bands = list(
        probability_bands(image.shape[:2], lambda y, x: image[y, x], network, **options)
    )
    firsts = [first for first, _ in bands]
    heights = [band.shape[1] for _, band in bands]
    assert firsts == [sum(heights[:i]) for i in range(len(bands))]
    return np.concatenate([band for _, band in bands], axis=1)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (64, 64), (201, 170), (1, 9)])
def test_a_network_of_single_pixels_sees_no_tiles(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tiled = joined(image, pixelwise, tile=64, overlap=32, margin=8)
    np.testing.assert_allclose(tiled, pixelwise(image), atol=1e-6)


def test_a_margin_as_wide_as_the_network_sees_hides_the_tiles():
    image = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)
    tiled = joined(image, local, tile=64, overlap=32, margin=9)
    np.testing.assert_allclose(tiled, local(image), atol=1e-6)
    without = joined(image, local, tile=64, overlap=32, margin=0)
    assert np.abs(without - local(image)).max() > 1e-3


@pytest.mark.parametrize("margin", [0, 5, 16])
def test_the_weights_of_a_pixel_sum_to_one(margin):
    starts = window_starts(333, 64, 32)
    total = np.zeros(333)
    for start, weight in zip(starts, tile_weights(starts, 64, margin), strict=True):
        total[start : start + 64] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize(
    "lengths", [(0, 0, 0), (64, 64, 0), (64, 32, 17), (64, -1, 0), (64, 32, -1)]
)
def test_lengths_that_do_not_fit_are_refused(lengths):
    options = dict(zip(("tile", "overlap", "margin"), lengths, strict=True))
    with pytest.raises(ValueError, match="tile="):
        joined(np.zeros((9, 9, 3), np.uint8), pixelwise, **options)
