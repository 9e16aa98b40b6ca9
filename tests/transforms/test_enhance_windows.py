import tracemalloc

import cv2
import numpy as np
import pytest
from test_retinex_fast import stained_cell

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.enhance_windows import (
    enhance_image,
    window_starts,
    window_weights,
)
from leuko_mm.transforms.retinex_params import READINGS

# What docs/ahe_retinex.md states: grey levels between a cell enhanced alone and
# inside its field, over the cell's pixels and all three channels.
MEAN_BOUND = 8
BOUND_95 = 30


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


@pytest.mark.parametrize("shape", [(257, 30), (30, 600), (1, 257), (400, 300)])
def test_larger_images_keep_their_shape(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert enhance_image(image).shape == image.shape


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


def test_raises_for_an_overlap_that_does_not_fit():
    with pytest.raises(ValueError, match="overlap=256"):
        enhance_image(stained_cell(300), overlap=256)
