import pickle

import cv2
import numpy as np
import pytest
from test_retinex_fast import stained_cell

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.adaptive_equalisation import adaptive_equalisation
from leuko_mm.transforms.enhance_windows import in_windows
from leuko_mm.transforms.retinex_params import RetinexParams
from leuko_mm.transforms.retinex_reference import rgb_to_hsv
from leuko_mm.transforms.value_equalisation import ValueEqualisation, equalise_value


def test_v_is_equalised_and_hue_and_saturation_stay():
    image = stained_cell(128)
    before, after = rgb_to_hsv(image), rgb_to_hsv(equalise_value(image))
    expected = adaptive_equalisation(
        before[2].astype(np.float32), clip_limit=2, grid=(4, 4)
    )
    assert np.abs(after[2] - expected).max() <= 0.51
    # Rounding R, G and B to whole levels moves both a little.
    turned = np.abs((after[0] - before[0] + 180) % 360 - 180)
    assert np.median(turned) < 2
    assert np.median(np.abs(after[1] - before[1])) < 2


def test_close_to_opencv_where_nothing_is_clipped():
    image = cv2.GaussianBlur(stained_cell(128), (0, 0), 3)
    params = RetinexParams(clip_limit=256, grid=(2, 2))
    theirs = cv2.createCLAHE(256, (2, 2)).apply(image.max(axis=2))
    ours = equalise_value(image, params=params).max(axis=2)
    assert np.abs(ours.astype(int) - theirs).max() <= 4


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


@pytest.mark.parametrize("window", [0, 25.6, "256"])
def test_raises_for_a_window_that_is_none(window):
    with pytest.raises(ValueError, match="window"):
        ValueEqualisation(window=window)
