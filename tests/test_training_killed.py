"""``leuko train``, killed without warning, ends with the undisturbed run's weights."""

from __future__ import annotations

import os

import pytest
import torch
from tiny_run import finished_script, write_config

from leuko_mm.engine.checkpoints import load_tensors

KILLS = int(os.environ.get("LEUKO_MM_KILLS", 50))
DROPOUT = "\nmodel['decode_head']['dropout_ratio'] = 0.5\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its attempts by fork")
def test_fifty_kills_leave_the_weights_of_an_undisturbed_training(tiny_data, tmp_path):
    words = (KILLS, 0, write_config(tmp_path, more=DROPOUT))
    said = finished_script(tmp_path, "killed_training.py", *words, timeout=7200)
    assert said.count("kill ") == KILLS
    # Of few kills, all may strike elsewhere.
    assert "in a file" in said or KILLS < 20
    whole = load_tensors(tmp_path / "whole" / "whole.pth")
    trainings = sorted(tmp_path.glob("killed-*/killed-*.pth"))
    assert trainings
    for path in trainings:
        tensors = load_tensors(path)
        assert tensors.keys() == whole.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensors[name], tensor), f"{path}: {name}"
