"""Stain jitter: colours change as asked, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms import StainJitter
from leuko_mm.transforms.stain import DensityJitter, StainChange, change_stain

SAME = dict(gamma=1.0, gain=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), saturation=1.0)
IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def change(image=IMAGE, **values) -> np.ndarray:
    return change_stain(image, StainChange(**{**SAME, **values}))


def jittered(seed: int, **options) -> dict:
    np.random.seed(seed)
    labels = np.arange(63, dtype=np.uint8).reshape(9, 7)
    return StainJitter(**options)(dict(img=IMAGE.copy(), gt_seg_map=labels))


def test_every_level_survives_the_identity():
    levels = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 3)], axis=-1)
    levels = levels[None].astype(np.uint8)
    assert (change(levels) == levels).all()


def test_values_against_numbers_by_hand():
    pixel = np.array([[[51, 102, 204]]], np.uint8)
    assert change(pixel, gamma=2.0).tolist() == [[[10, 41, 163]]]
    assert change(pixel, gain=(2.0, 0.5, 1.0)).tolist() == [[[102, 51, 204]]]
    assert change(pixel, offset=(0.2, 0.0, -0.4)).tolist() == [[[102, 102, 102]]]
    assert change(pixel, saturation=0.0).tolist() == [[[119, 119, 119]]]
    # 119 + 1.5 * (51 - 119) = 17, 93.5 (to even: 94), 246.5 (246)
    assert change(pixel, saturation=1.5)[0, 0, 0] == 17


def test_against_the_formula_on_every_pixel():
    values = dict(
        gamma=0.8, gain=(1.1, 0.9, 1.2), offset=(0.05, -0.03, 0.0), saturation=1.3
    )
    expected = (IMAGE / 255) ** 0.8 * values["gain"] + values["offset"]
    grey = expected.mean(axis=-1, keepdims=True)
    expected = np.clip(255 * (grey + 1.3 * (expected - grey)), 0, 255)
    assert np.abs(change(**values) - expected).max() <= 0.5 + 1e-3


def test_nothing_to_change_changes_nothing():
    still = jittered(0, gain=0, offset=0, saturation=0, gamma=0, prob=1)
    assert (still["img"] == IMAGE).all()
    assert (jittered(0, prob=0)["img"] == IMAGE).all()


def test_labels_shape_and_type_stay():
    sample = jittered(1, prob=1)
    assert sample["img"].shape == IMAGE.shape
    assert sample["img"].dtype == np.uint8
    assert (sample["img"] != IMAGE).any()
    assert (sample["gt_seg_map"].ravel() == np.arange(63)).all()


def test_the_change_is_given_by_numpys_seed():
    assert (jittered(3)["img"] == jittered(3)["img"]).all()
    assert (jittered(3)["img"] != jittered(4)["img"]).any()


def test_changes_lie_in_their_ranges():
    jitter = StainJitter(gain=0.2, offset=0.1, saturation=0.5, gamma=1.0)
    np.random.seed(0)
    drawn = [jitter._draw() for _ in range(500)]
    for name, width in (("gamma", 1.0), ("gain", 0.2), ("saturation", 0.5)):
        values = np.array([getattr(d, name) for d in drawn])
        assert values.min() >= 1 / (1 + width)
        assert values.max() <= 1 + width
        assert values.min() < 1 / (1 + 0.9 * width)
        assert values.max() > 1 + 0.9 * width
        assert abs(np.log(values).mean()) < 0.05
    offsets = np.array([d.offset for d in drawn])
    assert 0.09 < np.abs(offsets).max() <= 0.1


@pytest.mark.parametrize(
    "bad", [dict(gain=-0.1), dict(offset=-1), dict(prob=1.5), dict(density=2)]
)
def test_amounts_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="expected 0 or more of each, and at most 1"):
        StainJitter(**bad)


def test_a_share_of_the_images_gets_the_change_of_density():
    np.random.seed(3)
    np.random.random()  # whether it does
    expected = DensityJitter()(dict(img=IMAGE.copy()))["img"]
    np.testing.assert_array_equal(jittered(3, density=1.0)["img"], expected)
    # Of none, nothing is drawn.
    plain = jittered(3)["img"]
    np.testing.assert_array_equal(jittered(3, density=0.0)["img"], plain)
    assert (plain != expected).any()


def test_it_is_registered():
    built = TRANSFORMS.build(dict(type="leuko_mm.StainJitter", gain=0.3))
    assert isinstance(built, StainJitter)
    assert "gain=0.3" in repr(built)


NOTHING = dict(strength=0, channel=0, mix=0, white=0, gamma=0, hue=0, rare=0)


def density_jittered(image, *, seed=0, **amounts):
    """Apply ``DensityJitter`` with one seed."""
    np.random.seed(seed)
    results = DensityJitter(**amounts)(dict(img=image))
    return results["img"]


def test_density_without_amounts_changes_white_and_saturation_alone():
    image = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None], 3, axis=2)
    found = density_jittered(image, **NOTHING).astype(float)
    # The white is exp(-0.1) of what it was, on average; greys stay grey.
    wanted = (image.astype(float) + 4) * np.exp(-0.1) - 4
    assert np.abs(found - np.clip(wanted, 0, 255)).max() < 1.5


def test_density_strength_multiplies_optical_density():
    image = np.full((4, 4, 3), 120, np.uint8)
    np.random.seed(3)  # the matrix of shares is drawn first
    np.random.normal(0, 0.0, (3, 3))
    gain = np.exp(np.random.normal(0, 0.5))
    found = density_jittered(image, seed=3, **(NOTHING | dict(strength=0.5)))
    density = -np.log((120 + 4) / 259) * gain
    wanted = 259 * np.exp(-density) * np.exp(-0.1) - 4
    assert np.abs(found - wanted).max() < 1.5


def test_density_of_rare_images_is_grey():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    found = density_jittered(image, **(NOTHING | dict(rare=1.0)))
    assert np.ptp(found.astype(int), axis=2).max() <= 1


def test_density_is_drawn_by_the_seed():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        density_jittered(image, seed=1), density_jittered(image, seed=1)
    )
    assert (density_jittered(image, seed=1) != density_jittered(image, seed=2)).any()


@pytest.mark.parametrize("wrong", [dict(strength=-1), dict(rare=1.5)])
def test_density_amounts_are_checked(wrong):
    with pytest.raises(ValueError, match="DensityJitter"):
        DensityJitter(**wrong)
