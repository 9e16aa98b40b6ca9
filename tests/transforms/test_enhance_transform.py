import pickle

import numpy as np
import pytest

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.enhance_transform import AHERetinex
from leuko_mm.transforms.enhance_windows import enhance_image
from leuko_mm.transforms.retinex_params import RetinexParams


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)


def test_bgr_and_rgb_give_the_same_picture(rgb):
    expected = enhance_image(rgb)
    from_bgr = AHERetinex().transform({"img": rgb[..., ::-1].copy(), "seg": 1})
    from_rgb = AHERetinex(channel_order="rgb").transform({"img": rgb})
    assert (from_bgr["img"][..., ::-1] == expected).all()
    assert from_bgr["img"].flags["C_CONTIGUOUS"]
    assert from_bgr["seg"] == 1
    assert (from_rgb["img"] == expected).all()


def test_reading_preset_and_window_reach_the_function(rgb):
    part = TRANSFORMS.build(
        {
            "type": "leuko_mm.AHERetinex",
            "reading": "rgb",
            "preset": "min_max",
            "window": 32,
            "channel_order": "rgb",
        }
    )
    expected = enhance_image(
        rgb, window=32, overlap=8, reading="rgb", params=RetinexParams.preset("min_max")
    )
    assert (part({"img": rgb})["img"] == expected).all()
    assert "reading='rgb'" in repr(part)
    assert "preset='min_max'" in repr(part)


def test_grey_image_comes_out_with_three_channels():
    out = AHERetinex().transform({"img": np.full((9, 7), 80, np.uint8)})["img"]
    assert out.shape == (9, 7, 3)


def test_pickles_for_loader_workers(rgb):
    part = AHERetinex()
    twin = pickle.loads(pickle.dumps(part))
    assert (twin({"img": rgb})["img"] == part({"img": rgb})["img"]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"reading": "lab"},
        {"preset": "none"},
        {"channel_order": "gbr"},
        {"window": 0},
        {"window": 25.6},
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        AHERetinex(**wrong)
