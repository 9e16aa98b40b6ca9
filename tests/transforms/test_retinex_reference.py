import colorsys

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.transforms.retinex import RetinexParams

reference = load_tool("paper/retinex_reference")


def dense_gaussian(side, sigma):
    """The blur along one axis as a matrix, mirrored with the edge repeated."""
    reach = int(np.ceil(4 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    matrix = np.zeros((side, side))
    for row in range(side):
        at = (row + offsets) % (2 * side)
        at = np.where(at >= side, 2 * side - 1 - at, at)
        np.add.at(matrix[row], at, kernel / kernel.sum())
    return matrix


@pytest.mark.parametrize("shape", [(40, 25), (1, 30), (9, 1)])
@pytest.mark.parametrize("sigma", [2, 80])
def test_surround_is_the_mirrored_gaussian(shape, sigma):
    plane = np.random.default_rng(1).random(shape) * 255
    rows, columns = (dense_gaussian(side, sigma) for side in shape)
    expected = rows @ plane @ columns.T
    np.testing.assert_allclose(reference.surround(plane, sigma), expected, atol=1e-9)


def test_msrcr_by_hand_on_two_flat_halves():
    # At sigma 1 the middle of a wide flat part is its own surround: MSR is 0 there.
    plane = np.repeat([[50.0] * 20 + [200.0] * 20], 5, axis=0)
    params = RetinexParams(sigmas=(1,))
    out = reference.msrcr(plane, plane * 3 + 3, params)
    assert abs(out[2, 5]) < 1e-9
    # Eq. 2 with equal shares, times log(201 / (G * S + 1)) beside the step.
    matrix = dense_gaussian(40, 1)
    by_hand = 46 * np.log(125 / 3) * np.log(201 / ((matrix @ plane[0])[20] + 1))
    assert out[2, 20] == pytest.approx(by_hand)


def test_hsv_round_trip_and_colorsys():
    image = np.random.default_rng(2).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    hue, saturation, value = reference.rgb_to_hsv(image)
    np.testing.assert_allclose(reference.hsv_to_rgb(hue, saturation, value), image)
    expected = colorsys.rgb_to_hsv(*(image[3, 4] / 255))
    ours = (hue[3, 4] / 360, saturation[3, 4] / 255, value[3, 4] / 255)
    assert ours == pytest.approx(expected)


def test_hue_cast_does_not_see_where_the_circle_is_cut():
    params = RetinexParams(sigmas=(3,))
    rng = np.random.default_rng(3)
    saturation = rng.random((20, 20)) * 200
    hue = rng.normal(0, 8, (20, 20))  # both sides of 0 degrees
    cut = reference.hue_cast(hue % 360, saturation, params)
    np.testing.assert_allclose(cut, reference.hue_cast(hue, saturation, params))


def test_hue_cast_of_a_flat_tint_is_its_damped_sine_from_the_anchor():
    params = RetinexParams(anchor_hue=300, grey_floor=16)
    flat = np.ones((8, 8))
    cast = reference.hue_cast(330 * flat, 84 * flat, params)
    assert cast[0, 0] == pytest.approx(np.rad2deg(84 * 0.5 / 100))
    assert not reference.hue_cast(330 * flat, 0 * flat, params).any()
