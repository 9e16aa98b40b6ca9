"""Blur, sharpening, noise and compression, by hand-computable amounts."""

import numpy as np
import pytest

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms import CameraJitter, OtherCamera
from leuko_mm.transforms.camera import CameraChange, change_camera

GREY = np.full((64, 64, 3), 128, np.uint8)
NONE = dict(sigma=0, sharpen=0, noise=0, grain=0, quality=100)


def stripes():
    image = np.full((32, 32, 3), 50, np.uint8)
    image[:, ::2] = 150
    return image


def test_blur_lowers_the_contrast_and_keeps_the_mean():
    blurred = change_camera(stripes(), CameraChange(blur=3.0))
    assert blurred.std() < 0.5 * stripes().std()
    assert blurred.mean() == pytest.approx(stripes().mean(), abs=2)


def test_sharpening_adds_the_difference_to_the_blurred_image():
    # Blurred over many stripes everything is 100: 50 becomes 50 - 0.5 * 50.
    sharp = change_camera(stripes(), CameraChange(sharpen=0.5, radius=5.0))
    assert set(np.unique(sharp[:, 12:20])) == {25, 175}


def test_sharpening_stays_within_the_grey_levels():
    sharp = change_camera(stripes(), CameraChange(sharpen=9.0, radius=5.0))
    assert set(np.unique(sharp[:, 12:20])) == {0, 255}


@pytest.mark.parametrize("grain", [0.0, 2.0])
def test_noise_has_its_deviation_and_its_grain(grain):
    numbers = np.random.default_rng(0).standard_normal(GREY.shape).astype(np.float32)
    change = CameraChange(noise=6.0, grain=grain)
    noisy = change_camera(GREY, change, numbers).astype(float) - 128
    assert noisy.std() == pytest.approx(6, abs=0.2)
    neighbours = np.corrcoef(noisy[:, 1:].ravel(), noisy[:, :-1].ravel())[0, 1]
    assert (neighbours > 0.8) == (grain > 0)


def test_compression_leaves_steps_between_blocks_of_eight():
    ramp = np.arange(64, dtype=np.uint8).repeat(3).reshape(1, 64, 3).repeat(64, axis=0)
    stored = change_camera(ramp, CameraChange(quality=5)).astype(float)
    steps = np.abs(np.diff(stored[..., 0], axis=1)).mean(axis=0)
    between = np.arange(63) % 8 == 7
    assert steps[between].mean() > 3 * steps[~between].mean()


def test_at_most_the_asked_amounts_are_drawn():
    np.random.seed(0)
    drawn = [CameraJitter(prob=0.5)._draw(1000) for _ in range(400)]
    for name, most in (("blur", 6), ("sharpen", 2), ("noise", 15)):
        amounts = np.array([getattr(change, name) for change in drawn])
        assert 0.9 * most < amounts.max() <= most
        assert (amounts == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert min(change.quality for change in drawn) in (40, 41, 42, 43)


@pytest.mark.parametrize("options", [dict(prob=0), NONE])
def test_without_amount_or_probability_the_image_stays(options):
    same = CameraJitter(**options)(dict(img=stripes()))["img"]
    assert (same == stripes()).all()


def test_another_camera_is_the_same_for_every_image():
    taken = [OtherCamera(noise=9.0)(dict(img=GREY))["img"] for _ in range(2)]
    assert (taken[0] == taken[1]).all()
    assert taken[0].std() == pytest.approx(9, abs=0.3)
    soft = OtherCamera(blur=3.0)(dict(img=stripes()))["img"]
    assert (soft == change_camera(stripes(), CameraChange(blur=3.0))).all()
    stored = [OtherCamera(quality=q)(dict(img=stripes()))["img"] for q in (60.0, 60)]
    assert (stored[0] == stored[1]).all()
    with pytest.raises(TypeError, match="blurr"):
        OtherCamera(blurr=3.0)


def test_it_is_registered_and_refuses_nonsense():
    assert TRANSFORMS.get("leuko_mm.CameraJitter") is CameraJitter
    for wrong in (dict(prob=2), dict(quality=0), dict(noise=-1)):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
            CameraJitter(**wrong)
