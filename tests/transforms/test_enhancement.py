"""AHE-Retinex and equalisation as parts of a pipeline."""

from __future__ import annotations

import hashlib
import pickle

import cv2
import numpy as np
import pytest
import torch
from test_retinex import stained_cell
from tool_module import load_tool
from torch.utils.data import DataLoader

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.ahe_retinex import (
    adaptive_equalisation,
    enhance_image,
    in_windows,
)
from leuko_mm.transforms.enhance import AHERetinex, ValueEqualisation, equalise_value
from leuko_mm.transforms.retinex import READINGS, RetinexParams

reference = load_tool("paper/retinex_reference")


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"reading": "lab"},
        {"preset": "none"},
        {"channel_order": "gbr"},
        {"window": 0},
        {"window": 2},
        {"window": 25.6},
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        AHERetinex(**wrong)


class EnhancedNoise:
    """Three images, one larger than a window, as a loader's workers enhance them."""

    def __init__(self):
        self.parts = [AHERetinex(reading=reading) for reading in READINGS]
        self.parts.append(ValueEqualisation())

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        shape = (120 + 80 * index, 260, 3)
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(part({"img": image})["img"].tobytes())
        return digest.hexdigest()


@pytest.fixture
def any_threads():
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def test_same_bytes_for_any_threads_and_workers(any_threads):
    found = set()
    for cv_threads, torch_threads, workers in [(1, 1, 0), (2, 2, 0), (2, 1, 2)]:
        cv2.setNumThreads(cv_threads)
        torch.set_num_threads(torch_threads)
        loader = DataLoader(EnhancedNoise(), batch_size=None, num_workers=workers)
        found.add(tuple(loader))
    assert len(found) == 1


def test_v_is_equalised_and_hue_and_saturation_stay():
    image = stained_cell(128)
    before, after = (
        reference.rgb_to_hsv(image),
        reference.rgb_to_hsv(equalise_value(image)),
    )
    expected = adaptive_equalisation(
        before[2].astype(np.float32), clip_limit=2, grid=(4, 4)
    )
    assert np.abs(after[2] - expected).max() <= 0.51
    # Rounding R, G and B to whole levels moves both a little.
    turned = np.abs((after[0] - before[0] + 180) % 360 - 180)
    assert np.median(turned) < 2
    assert np.median(np.abs(after[1] - before[1])) < 2


def test_fields_follow_the_window_rule_and_channel_order_does_not_matter():
    image = np.tile(stained_cell(150), (2, 2, 1))
    out = ValueEqualisation().transform({"img": image, "seg": 1})
    assert (out["img"] == in_windows(image, equalise_value)).all()
    assert out["seg"] == 1
    flipped = ValueEqualisation()({"img": image[..., ::-1]})["img"]
    assert (flipped[..., ::-1] == out["img"]).all()


def test_window_reaches_the_function_and_the_part_pickles():
    image = stained_cell(70)
    part = TRANSFORMS.build({"type": "leuko_mm.ValueEqualisation", "window": 32})
    expected = in_windows(image, equalise_value, window=32, overlap=8)
    assert (pickle.loads(pickle.dumps(part))({"img": image})["img"] == expected).all()
    assert "window=32" in repr(part)


@pytest.mark.parametrize("window", [0, 2, 31, 25.6, "256"])
def test_raises_for_a_window_that_is_none(window):
    with pytest.raises(ValueError, match="window"):
        ValueEqualisation(window=window)
