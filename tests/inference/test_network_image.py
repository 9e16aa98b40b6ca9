"""An image at the network's scale, in parts, and the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.inference.network_image import NetworkImage
from leuko_mm.transforms import enhance_image


@pytest.fixture
def image():
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def test_shrunk_it_is_what_training_would_have_seen(image):
    seen = NetworkImage(image, 0.5)
    assert seen.shape == seen.grid == (30, 45)
    wanted = cv2.resize(image, (45, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.window(slice(0, 30), slice(0, 45)), wanted)


def test_enlarged_its_parts_are_those_of_the_whole(image):
    seen = NetworkImage(image, 1.7)
    assert (seen.shape, seen.grid) == ((102, 153), (60, 90))
    wanted = cv2.resize(image, (153, 102), interpolation=cv2.INTER_LINEAR)
    for rows, columns in [
        (slice(0, 102), slice(0, 153)),
        (slice(0, 40), slice(100, 153)),
        (slice(37, 80), slice(20, 60)),
    ]:
        part = seen.window(rows, columns).astype(int)
        assert np.abs(part - wanted[rows, columns]).max() <= 3


def test_the_enhancement_of_the_training_is_done_at_its_scale(image):
    enhance = dict(type="leuko_mm.AHERetinex", reading="hsv", window=64)
    seen = NetworkImage(image, 0.5, enhance=enhance, enhanced_at=2.0)
    enhanced = enhance_image(image, window=64, overlap=16)
    wanted = cv2.resize(enhanced, (45, 30), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.window(slice(0, 30), slice(0, 45)), wanted)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.3])
@pytest.mark.parametrize("heights", [13, 1000])
def test_bands_come_back_to_the_size_of_the_image(image, factor, heights):
    seen = NetworkImage(image, factor)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    places = np.stack([rows / seen.shape[0], columns / seen.shape[1]])
    bands = [
        (first, places[:, first : first + heights])
        for first in range(0, seen.shape[0], heights)
    ]
    out = np.full((2, 60, 90), np.nan)
    following = 0
    for first, band in seen.on_grid(bands):
        assert first == following
        following += band.shape[1]
        assert band.shape[2] == seen.grid[1]
        seen.spread(first, band, out)
    assert following == seen.grid[0]
    wanted = np.stack(np.mgrid[:60, :90]) / np.array([60, 90])[:, None, None]
    assert np.abs(out - wanted).max() <= max(1.5 / 60, 1.0 / seen.shape[0])
