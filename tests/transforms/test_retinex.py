"""The fast path held to the textbook; the tolerances are those of the docs."""

from __future__ import annotations

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.retinex import READINGS, RetinexParams, restored_planes

reference = load_tool("paper/retinex_reference")


def stained_cell(side, seed=0):
    """A dark violet disc and red ones on a bluish, unevenly lit ground, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([180 + 40 * x, 190 + 30 * y, 215 - 30 * x], axis=2)
    for row, column, radius, colour in [
        (0.5, 0.5, 0.2, (90, 50, 140)),
        (0.2, 0.2, 0.12, (200, 130, 125)),
        (0.8, 0.3, 0.12, (190, 120, 130)),
    ]:
        image[np.hypot(y - row, x - column) < radius] = colour
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def deviation(image, reading, params):
    """Largest difference of each channel on the scale 0-255; hue around the circle."""
    textbook = reference.restored_channels(image, reading, params)
    fast = restored_planes(image, reading, params)
    found = []
    for i, (one, other) in enumerate(zip(textbook, fast, strict=True)):
        off = np.abs(one - other)
        if reading != "rgb" and i == 0:
            off = np.minimum(off % 255, 255 - off % 255)
            off = off * (textbook[1] > 0)  # a grey pixel has no hue
        found.append(off.max())
    return max(found)


def images(side):
    noise = np.random.default_rng(7).integers(0, 256, (side, side + 9, 3))
    return [stained_cell(side), noise.astype(np.uint8)]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", ["default", "min_max", "mean_1.2std"])
def test_within_half_a_level_of_the_textbook(reading, name):
    for image in images(128):
        assert deviation(image, reading, RetinexParams.preset(name)) < 0.5


@pytest.mark.parametrize("reading", READINGS)
def test_after_ahe_within_two_levels(reading):
    params = RetinexParams()
    for image in images(128):
        expected = reference.ahe_retinex_reference(
            image, reading=reading, params=params
        )
        off = np.abs(expected - ahe_retinex(image, reading=reading).astype(int))
        assert off.max() <= 6
        assert (off.max(axis=2) > 2).mean() < 1e-3


def test_weights_choose_among_the_scales():
    image = stained_cell(96)
    one = RetinexParams(sigmas=(20,))
    of_three = RetinexParams(sigmas=(5, 20, 60), weights=(0, 1, 0))
    # The coarse grids differ, so the two agree closely, not exactly.
    for a, b in zip(
        restored_planes(image, "rgb", one),
        restored_planes(image, "rgb", of_three),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigmas": ()},
        {"sigmas": (0.5,)},
        {"weights": (0.5, 0.5)},
        {"weights": (0.5, 0.2, 0.2)},
        {"alpha": 0},
        {"beta": -1},
        {"gain": 0},
        {"stretch": "gamma"},
        {"stretch": "percentile", "stretch_at": 0.5},
        {"stretch_at": 0},
        {"clip_limit": 0},
        {"grid": (0, 8)},
        {"min_tile": 0},
        {"grey_floor": 0},
    ],
)
def test_numbers_outside_their_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        RetinexParams(**wrong)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match="min_max"):
        RetinexParams.preset("minmax")


def test_tiles_keep_their_size_in_small_windows():
    assert RetinexParams().grid_for(256, 256) == (8, 8)
    assert RetinexParams().grid_for(512, 100) == (8, 3)
    assert RetinexParams().grid_for(1, 31) == (1, 1)
