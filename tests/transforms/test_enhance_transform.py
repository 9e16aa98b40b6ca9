import hashlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms.enhance_transform import AHERetinex
from leuko_mm.transforms.enhance_windows import enhance_image
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams
from leuko_mm.transforms.value_equalisation import ValueEqualisation


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


@pytest.mark.slow
def test_same_bytes_in_another_process(project_root):
    code = (
        "from test_enhance_transform import EnhancedNoise as E\n"
        "print(*(E()[i] for i in range(3)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project_root / "tests/transforms",
        env={"PYTHONPATH": str(project_root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [EnhancedNoise()[i] for i in range(3)]
    assert done.stdout.split() == here
