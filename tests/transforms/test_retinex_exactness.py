"""The fast path against the textbook on real tiles, real fields and noise.

Every reading and preset, up to a whole field. The textbook's Gaussians take minutes
there, so they are computed by the cosine transform, which a test holds to them.
"""

from functools import cache

import cv2
import numpy as np
import pytest
from scipy.fft import dctn, idctn
from test_retinex import deviation
from tool_module import load_tool

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.retinex import PRESETS, READINGS, RetinexParams

reference = load_tool("paper/retinex_reference")

textbook_surround = reference.surround


def mirrored_gaussian(channel, sigma):
    """The textbook's surround: mirrored borders make the cosines its own waves."""
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(4 * sigma)) + 1, sigma).ravel()
    offsets = np.arange(kernel.size) - kernel.size // 2
    gains = []
    for side in channel.shape:
        # The mirrored signal repeats after two sides, and so does the kernel's sum.
        folded = np.bincount(offsets % (2 * side), kernel, minlength=2 * side)
        gains.append(np.fft.fft(folded).real[:side])
    waves = dctn(channel.astype(np.float64), norm="ortho")
    return idctn(waves * np.outer(*gains), norm="ortho")


@pytest.fixture
def quick_textbook(monkeypatch):
    known = {}

    def surround(channel, sigma):
        key = (channel.shape, channel.sum(), (channel[::7, ::5] ** 2).sum(), sigma)
        if key not in known:
            known[key] = mirrored_gaussian(channel, sigma)
        return known[key]

    monkeypatch.setattr(reference, "surround", surround)


def noise(height, width):
    rng = np.random.default_rng(11)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@cache
def picture(kind, shared):
    """An image of each kind, RGB; real ones from the shared folder."""
    root = shared and shared / "datasets/BCISC"
    if kind == "noise 512":
        return noise(512, 512)
    if kind == "noise 2048":
        return noise(1536, 2048)
    if kind.startswith("tile"):
        path = root / f"sub-images/images/{kind.split()[1]}.jpg"
        return cv2.imread(str(path))[..., ::-1].copy()
    path = next(iter(sorted((root / "original-images/neut").glob("*.jpg"))))
    field = cv2.imread(str(path))[..., ::-1]
    return np.ascontiguousarray(field[500:1012, 700:1212] if "512" in kind else field)


@pytest.mark.parametrize("shape", [(40, 25), (1, 30), (64, 64)])
@pytest.mark.parametrize("sigma", [2, 15, 250])
def test_the_cosine_transform_is_the_textbooks_surround(shape, sigma):
    plane = np.random.default_rng(1).random(shape) * 255
    expected = textbook_surround(plane, sigma)
    np.testing.assert_allclose(mirrored_gaussian(plane, sigma), expected, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ("tile baso_1-1_0", 0.5),
        ("tile mono_5-1_0", 0.5),
        ("field 512", 0.5),
        ("noise 512", 0.5),
        ("field 2048", 1.0),
        ("noise 2048", 1.0),
    ],
)
def test_every_preset_is_within_the_stated_bounds(
    quick_textbook, request, kind, bound, reading
):
    made = kind.startswith("noise")
    # Only the real images need the folder that may be absent.
    shared = None if made else request.getfixturevalue("shared_folder")
    image = picture(kind, shared)
    for name in PRESETS:
        params = RetinexParams.preset(name)
        off = deviation(image, reading, params)
        print(f"{kind}, {reading}, {name}: {off:.3f}")
        assert off < bound, name
        expected = reference.ahe_retinex_reference(
            image, reading=reading, params=params
        )
        fast = ahe_retinex(image, reading=reading, params=params)
        levels = np.abs(expected.astype(np.int16) - fast)
        share = (levels.max(axis=2) > 2).mean()
        print(f"    after AHE: at most {levels.max()}, above 2 on {share:.2e}")
        assert levels.max() <= 6, name
        assert share < 1e-3, name
