import cv2
import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.transforms.ahe_retinex import adaptive_equalisation
from leuko_mm.transforms.retinex import RetinexParams

reference = load_tool("paper/retinex_reference")


@pytest.fixture
def smooth():
    noise = np.random.default_rng(3).random((256, 256)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 6)
    return cv2.normalize(blurred, None, 5, 250, cv2.NORM_MINMAX)


@pytest.mark.parametrize("shape", [(256, 256), (97, 203), (1, 64), (64, 1), (5, 4)])
def test_agrees_with_the_reference(shape):
    plane = np.random.default_rng(0).random(shape).astype(np.float32) * 255
    params = RetinexParams(min_tile=16)
    grid = params.grid_for(*shape)
    ours = adaptive_equalisation(plane, clip_limit=2, grid=grid)
    np.testing.assert_allclose(ours, reference.equalise(plane, params), atol=2e-3)


def test_close_to_opencv_where_nothing_is_clipped(smooth):
    # A limit that no bin reaches leaves out the one step in which the two differ.
    whole = np.rint(smooth)
    ours = adaptive_equalisation(whole, clip_limit=256, grid=(4, 4))
    theirs = cv2.createCLAHE(256, (4, 4)).apply(whole.astype(np.uint8))
    # OpenCV rounds, and places tile centres half a pixel off.
    assert np.abs(ours - theirs).max() < 2.5
    assert np.abs(ours - theirs).mean() < 0.5


def test_small_change_in_small_change_out(smooth):
    shifted = smooth + np.float32(0.05)
    before = adaptive_equalisation(smooth, clip_limit=2, grid=(8, 8))
    after = adaptive_equalisation(shifted, clip_limit=2, grid=(8, 8))
    assert np.abs(after - before).max() < 1.5
    assert np.abs(after - before).mean() < 0.3


def test_order_of_grey_levels_is_kept(smooth):
    out = adaptive_equalisation(smooth, clip_limit=2, grid=(1, 1)).ravel()
    assert (np.diff(out[np.argsort(smooth.ravel())]) >= 0).all()


def test_clip_limit_bounds_the_contrast(smooth):
    ramp = np.tile(np.linspace(100, 110, 64, dtype=np.float32), (64, 1))
    out = adaptive_equalisation(ramp, clip_limit=2, grid=(1, 1))
    assert np.ptp(out) <= 10 * 3 + 0.01
