"""The hook reads a test's answers and writes their calibration."""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from leuko_mm.workflows.calibration_hook import CALIBRATION_FILE, CalibrationHook


def answer(logits, truth, **meta):
    return SegDataSample(
        seg_logits=PixelData(data=logits),
        gt_sem_seg=PixelData(data=truth),
        metainfo=meta,
    )


def test_every_tile_is_a_cell_and_every_labelled_pixel_counts(tmp_path):
    truth = torch.ones(1, 4, 8, dtype=torch.long)
    truth[..., 4:] = 2
    truth[0, 0, 0] = 255
    logits = torch.zeros(3, 4, 8)
    logits[1] = 9.0
    tiles = [dict(box=(0, 0, 4, 4)), dict(box=(4, 0, 8, 4))]
    hook = CalibrationHook(tmp_path)
    hook.after_test_iter(None, 0, outputs=[answer(logits, truth, tiles=tiles)])
    hook.after_test_epoch(None)
    told = json.loads((tmp_path / CALIBRATION_FILE).read_text())
    assert np.sum(told["pixels"]["bins"], axis=0)[0] == 31
    assert np.sum(told["cells"]["bins"], axis=0)[[0, 2]].tolist() == [2, 1]
    assert told["cells"]["error"] == pytest.approx(50, abs=0.5)


def test_a_second_test_begins_anew_and_what_diverged_is_left_out(tmp_path):
    hook = CalibrationHook(tmp_path)
    truth = torch.ones(1, 2, 2, dtype=torch.long)
    good = answer(torch.randn(3, 2, 2), truth)
    bad = answer(torch.full((3, 2, 2), float("nan")), truth)
    hook.after_test_iter(None, 0, outputs=[good, bad])
    assert len(hook.cells) == 1
    hook.before_test_epoch(None)
    assert hook.cells == []
    assert hook.pixels.sum() == 0
