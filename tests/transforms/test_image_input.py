import numpy as np
import pytest

from leuko_mm.transforms.image_input import as_rgb_uint8


def test_rgb_uint8_passes_without_a_copy():
    image = np.zeros((3, 4, 3), np.uint8)
    assert as_rgb_uint8(image) is image


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_grey_is_repeated(shape):
    out = as_rgb_uint8(np.full(shape, 7, np.uint8))
    assert out.shape == (2, 3, 3)
    assert (out == 7).all()


def test_sixteen_bits_are_scaled_by_257_and_rounded():
    image = np.array([[[0, 257, 65535], [128, 129, 40000]]], np.uint16)
    assert as_rgb_uint8(image).tolist() == [[[0, 1, 255], [0, 1, 156]]]


def test_float_is_scaled_by_255():
    image = np.array([[[0, 0.5, 1]]], np.float64)
    assert as_rgb_uint8(image).tolist() == [[[0, 128, 255]]]


def test_opaque_alpha_is_dropped():
    image = np.full((2, 2, 4), 255, np.uint8)
    image[..., 0] = 9
    assert as_rgb_uint8(image)[0, 0].tolist() == [9, 255, 255]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ([[1, 2]], "numpy array"),
        (np.zeros((2, 2, 2), np.uint8), r"\(2, 2, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.zeros((2, 2, 3), np.int32), "int32"),
        (np.zeros((2, 2), bool), "bool"),
        (np.full((2, 2), 1.5), "within 0 to 1"),
        (np.full((2, 2), np.nan), "within 0 to 1"),
        (np.full((2, 2, 3), 4095, np.uint16), "12 bits"),
        (np.zeros((2, 2, 4), np.uint8), "transparent"),
    ],
)
def test_what_the_table_refuses(image, says):
    with pytest.raises(ValueError, match=says):
        as_rgb_uint8(image)


def test_twelve_bit_rule_looks_at_the_colours_not_at_the_alpha():
    image = np.full((2, 2, 4), 65535, np.uint16)
    image[..., :3] = 4000
    with pytest.raises(ValueError, match="12 bits"):
        as_rgb_uint8(image)
