"""AHE-Retinex of one window and of fields; the oracle is the textbook version."""

from __future__ import annotations

import tracemalloc
import warnings

import cv2
import numpy as np
import pytest
from test_retinex import stained_cell
from tool_module import load_tool

from leuko_mm.transforms.ahe_retinex import (
    ahe_retinex,
    as_rgb_uint8,
    enhance_image,
    window_starts,
    window_weights,
)
from leuko_mm.transforms.retinex import READINGS, RetinexParams

reference = load_tool("paper/retinex_reference")

# Grey levels between a cell enhanced alone and inside its field, over the cell's pixels
# and all three channels (docs/reproduce.md).
MEAN_BOUND, BOUND_95 = 8, 30
SHAPES = [(1, 1), (1, 4), (4, 1), (4, 4), (1, 90), (90, 1), (2, 33), (120, 116)]


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
    expected = reference.ahe_retinex_reference(
        image, reading=reading, params=RetinexParams()
    )
    off = np.abs(ahe_retinex(image, reading=reading).astype(int) - expected)
    assert off.max() <= 2


@pytest.mark.parametrize("reading", READINGS)
def test_grey_stays_grey(reading):
    grey = np.repeat(noise(40, 40)[..., :1], 3, axis=2)
    assert np.ptp(ahe_retinex(grey, reading=reading), axis=2).max() == 0


def test_default_reading_takes_off_a_hue_cast():
    # The same tissue under two lights: hues 25 degrees apart before.
    rng = np.random.default_rng(1)
    hue = rng.normal(290, 15, (96, 96)).astype(np.float32)
    hues = []
    for cast in (-12.5, 12.5):
        hsv = cv2.merge([hue + cast, np.full_like(hue, 0.6), np.full_like(hue, 200)])
        rgb = np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).astype(np.uint8)
        hues.append(np.median(reference.rgb_to_hsv(ahe_retinex(rgb))[0]))
    assert abs(hues[1] - hues[0]) < 6


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
    with pytest.raises(ValueError, match="overlap=256"):
        enhance_image(noise(300, 300), overlap=256)


@pytest.mark.parametrize("length", [1, 255, 256, 257, 300, 449, 512, 1000])
@pytest.mark.parametrize("overlap", [0, 64, 200])
def test_windows_cover_and_their_weights_sum_to_one(length, overlap):
    starts = window_starts(length, 256, overlap)
    size = min(256, length)
    total = np.zeros(length)
    for start, weight in zip(starts, window_weights(starts, size), strict=True):
        total[start : start + size] += weight
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_an_image_of_one_window_is_one_window():
    image = stained_cell(256)
    assert (enhance_image(image) == ahe_retinex(image)).all()
    assert (enhance_image(image[:100, :7]) == ahe_retinex(image[:100, :7])).all()


def test_where_one_window_rules_the_field_is_that_window():
    field = np.tile(stained_cell(200), (2, 2, 1))  # 400 px: windows at 0 and 144
    out = enhance_image(field)
    alone = ahe_retinex(field[:256, :256])
    assert (out[:144, :144] == alone[:144, :144]).all()


def test_no_seam_where_windows_meet():
    ramp = np.linspace(60, 200, 700, dtype=np.uint8)
    field = np.stack([np.tile(ramp, (260, 1))] * 3, axis=2)
    step = np.abs(np.diff(enhance_image(field).astype(int), axis=1))
    assert step.max() <= 6


def synthetic_field(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:640, :800]
    field = np.stack([205 + x / 40, 200 + y / 50, 215 - x / 40], axis=2)
    for _ in range(90):
        row, column = rng.uniform(0, 640), rng.uniform(0, 800)
        field[np.hypot(y - row, x - column) < 24] = (190, 130, 135)
    cell = np.hypot(y - 330, x - 420)
    field[cell < 46] = (160, 130, 180)
    field[cell < 28] = (90, 50, 140)
    field = cv2.GaussianBlur(field, (0, 0), 1.5) + rng.normal(0, 5, field.shape)
    return np.clip(field, 0, 255).astype(np.uint8), cell < 46


def difference_in_the_cell(field, inside, corner, reading):
    place = tuple(slice(start, start + 256) for start in corner)
    alone = enhance_image(field[place], reading=reading).astype(int)
    off = np.abs(enhance_image(field, reading=reading)[place] - alone)
    return off[inside[place]]


@pytest.mark.parametrize("reading", READINGS)
def test_cell_alone_and_in_its_field_agree(reading):
    for seed in (0, 1):
        field, inside = synthetic_field(seed)
        off = difference_in_the_cell(field, inside, (202, 292), reading)
        assert off.mean() < MEAN_BOUND
        assert np.percentile(off, 95) < BOUND_95


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
def test_real_cells_agree_with_their_fields(shared_folder, reading):
    root = shared_folder / "datasets/BCISC"
    checked = 0
    for path in sorted((root / "original-images").glob("*/1-*.jpg")):
        field = cv2.imread(str(path))[..., ::-1]
        if field.shape[:2] != (1536, 2048):
            continue
        field = cv2.resize(field, (1024, 768), interpolation=cv2.INTER_AREA)
        stem = f"{path.parent.name}_{path.stem}_0"
        crop = root / f"sub-images/images/{stem}.jpg"
        if not crop.is_file():
            continue
        crop = cv2.imread(str(crop))[..., ::-1].copy()
        match = cv2.matchTemplate(field, crop, cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(match)
        if score < 0.98:
            continue
        inside = np.zeros(field.shape[:2], bool)
        mask = cv2.imread(str(root / f"sub-images/masks/{stem}.png"), 0)
        inside[y : y + 256, x : x + 256] = mask > 0
        off = difference_in_the_cell(field, inside, (y, x), reading)
        assert off.mean() < MEAN_BOUND
        assert np.percentile(off, 95) < BOUND_95
        checked += 1
    assert checked >= 3


def test_memory_is_the_output_and_a_band():
    image = np.zeros((2100, 600, 3), np.uint8)
    tracemalloc.start()
    enhance_image(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    band = 256 * 600 * 3 * 4
    assert peak < image.nbytes + 2 * band + 40 * 256 * 256 * 4


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((1, 1), 7, np.uint8), [[[7, 7, 7]]]),
        (np.full((1, 1, 1), 7, np.uint8), [[[7, 7, 7]]]),
        (np.array([[[9, 8, 7, 255]]], np.uint8), [[[9, 8, 7]]]),
        (np.array([[[0, 0.5, 1]]]), [[[0, 128, 255]]]),
        # Divided by 257 and rounded.
        (np.array([[[0, 257, 65535]]], np.uint16), [[[0, 1, 255]]]),
        (np.array([[[128, 129, 40000]]], np.uint16), [[[0, 1, 156]]]),
    ],
)
def test_what_the_table_converts(image, expected):
    assert as_rgb_uint8(image).tolist() == expected
    rgb = np.zeros((3, 4, 3), np.uint8)
    assert as_rgb_uint8(rgb) is rgb


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
