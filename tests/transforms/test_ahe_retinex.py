import warnings

import cv2
import numpy as np
import pytest

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams
from leuko_mm.transforms.retinex_reference import ahe_retinex_reference, rgb_to_hsv

SHAPES = [(1, 1), (1, 4), (4, 1), (4, 4), (1, 90), (90, 1), (2, 33), (120, 116)]


@pytest.fixture
def any_threads():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def noise(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_and_flat_colour_is_defined_and_silent(reading, shape):
    flat = [np.full((*shape, 3), level, np.uint8) for level in (0, 90, 255)]
    pure = np.zeros((*shape, 3), np.uint8)
    pure[..., 0] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in [*flat, pure, noise(*shape)]:
            for name in ("default", "min_max", "percentile", "mean_2std"):
                params = RetinexParams.preset(name)
                out = ahe_retinex(image, reading=reading, params=params)
                assert out.shape == image.shape
                assert out.dtype == np.uint8


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (4, 4), (3, 50)])
def test_small_windows_agree_with_the_textbook(reading, shape):
    image = noise(*shape)
    expected = ahe_retinex_reference(image, reading=reading, params=RetinexParams())
    off = np.abs(ahe_retinex(image, reading=reading).astype(int) - expected)
    assert off.max() <= 2


@pytest.mark.parametrize("reading", READINGS)
def test_grey_stays_grey(reading):
    grey = np.repeat(noise(40, 40)[..., :1], 3, axis=2)
    assert np.ptp(ahe_retinex(grey, reading=reading), axis=2).max() == 0


def test_default_reading_leaves_hue_and_saturation_to_retinex_and_v_to_ahe():
    image = noise(64, 64)
    value = image.max(axis=2)
    out = ahe_retinex(image, params=RetinexParams(clip_limit=256, grid=(1, 1)))
    # One tile and no clipping: V is ranked anew, so its order is kept.
    order = np.argsort(value.ravel(), kind="stable")
    assert (np.diff(out.max(axis=2).ravel()[order].astype(int)) >= 0).all()


def test_default_reading_takes_off_a_hue_cast():
    # The same tissue under two lights: hues 25 degrees apart before.
    rng = np.random.default_rng(1)
    hue = rng.normal(290, 15, (96, 96)).astype(np.float32)
    hues = []
    for cast in (-12.5, 12.5):
        hsv = cv2.merge([hue + cast, np.full_like(hue, 0.6), np.full_like(hue, 200)])
        rgb = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).astype(np.uint8)
        hues.append(np.median(rgb_to_hsv(ahe_retinex(rgb))[0]))
    assert abs(hues[1] - hues[0]) < 6


@pytest.mark.parametrize("reading", READINGS)
def test_same_bytes_for_any_number_of_threads(any_threads, reading):
    image = noise(300, 280)
    results = set()
    for threads in (1, 2, 4):
        cv2.setNumThreads(threads)
        results.add(ahe_retinex(image, reading=reading).tobytes())
    assert len(results) == 1


def test_input_is_left_alone_and_views_are_taken():
    image = noise(30, 20)
    copy = image.copy()
    flipped = ahe_retinex(image[:, ::-1])
    assert (image == copy).all()
    assert (flipped == ahe_retinex(image[:, ::-1].copy())).all()


def test_raises_for_an_unknown_reading_and_a_window_too_large():
    with pytest.raises(ValueError, match="hsv_all"):
        ahe_retinex(noise(4, 4), reading="lab")
    with pytest.raises(ValueError, match="enhance_image"):
        ahe_retinex(np.zeros((1, 40000, 3), np.uint8))
