"""Blur and noise, by hand-computable amounts."""

import numpy as np
import pytest

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms import RandomBlur


def image():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    return stripes


def test_blur_lowers_the_contrast_and_keeps_the_mean():
    np.random.seed(0)
    blurred = RandomBlur(sigma=0.2, noise=0, prob=1)(dict(img=image()))["img"]
    assert blurred.std() < 0.5 * image().std()
    assert blurred.mean() == pytest.approx(image().mean(), abs=2)


def test_noise_has_at_most_its_deviation():
    np.random.seed(0)
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = RandomBlur(sigma=0, noise=6, prob=1)(dict(img=grey))["img"]
    assert 0 < noisy.std() < 6.5


def test_nothing_happens_without_probability():
    same = RandomBlur(prob=0)(dict(img=image()))["img"]
    assert (same == image()).all()


def test_it_is_registered_and_refuses_nonsense():
    assert TRANSFORMS.get("leuko_mm.RandomBlur") is RandomBlur
    with pytest.raises(ValueError, match="prob=2"):
        RandomBlur(prob=2)
