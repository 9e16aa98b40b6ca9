"""Squares cut out of an image at another scale."""

import numpy as np
import pytest

from leuko_mm.transforms.cell_crop import cut_square

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


def test_a_square_at_the_same_scale_is_a_slice():
    found = cut_square(IMAGE, (20, 16), factor=1.0, side=8)
    np.testing.assert_array_equal(found, IMAGE[12:20, 16:24])


def test_half_the_scale_averages_areas():
    found = cut_square(IMAGE, (20, 16), factor=0.5, side=8)
    blocks = IMAGE[8:24, 12:28].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    # The window has an odd length: it is resized to nearly half.
    assert np.abs(found - blocks).mean() < 12


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.0, 1.7, 4.0])
def test_the_point_is_in_the_middle(factor):
    rows, columns = np.mgrid[:200, :240]
    spot = 255 * np.exp(-((columns - 99.5) ** 2 + (rows - 59.5) ** 2) / 128)
    image = np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)
    side = round(64 * factor)
    found = cut_square(image, (100, 60), factor=factor, side=side)[..., 0].astype(float)
    y, x = (np.average(axis + 0.5, weights=found) for axis in np.mgrid[:side, :side])
    assert (x, y) == pytest.approx((side / 2, side / 2), abs=0.3)
    area = found.sum() / image[..., 0].sum()
    assert area == pytest.approx(factor**2, rel=0.05)


def test_the_border_mirrors():
    found = cut_square(IMAGE, (0, 20), factor=1.0, side=8)
    # Mirrored about the middle of the first pixel.
    np.testing.assert_array_equal(found[:, 3], found[:, 5])
    np.testing.assert_array_equal(found[:, 4:], IMAGE[16:24, :4])


def test_an_image_smaller_than_the_square():
    assert cut_square(IMAGE[:5, :7], (3, 2), factor=3.0, side=64).shape == (64, 64, 3)


@pytest.mark.parametrize("centre", [(-1, 5), (61, 5), (5, 41)])
def test_a_point_outside_is_refused(centre):
    with pytest.raises(ValueError, match="outside of 60 x 40"):
        cut_square(IMAGE, centre, factor=1.0, side=8)


@pytest.mark.parametrize("options", [dict(factor=0, side=8), dict(factor=1, side=0)])
def test_numbers_are_checked(options):
    with pytest.raises(ValueError, match="above 0"):
        cut_square(IMAGE, (5, 5), **options)
