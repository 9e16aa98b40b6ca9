"""``leuko train``, killed without warning, ends with the undisturbed run's weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import process_environment, write_config

from leuko_mm.engine.checkpoints import load_tensors

KILLS = int(os.environ.get("LEUKO_MM_KILLS", 50))
DROPOUT = "\nmodel['decode_head']['dropout_ratio'] = 0.5\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its attempts by fork")
def test_fifty_kills_leave_the_weights_of_an_undisturbed_training(tiny_data, tmp_path):
    config = write_config(tmp_path, more=DROPOUT)
    script = Path(__file__).with_name("killed_training.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(KILLS), "0", str(config)],
        env=process_environment(OPENBLAS_NUM_THREADS=1, MKL_NUM_THREADS=1),
        capture_output=True,
        text=True,
        timeout=7200,
        check=False,
    )
    print(done.stdout)
    logs = "".join(log.read_text()[-3000:] for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr[-3000:] + logs
    assert done.stdout.count("kill ") == KILLS
    # Of few kills, all may strike elsewhere.
    struck = int(re.search(r"(\d+) of them in a file", done.stdout)[1])
    assert struck or KILLS < 20
    whole = load_tensors(tmp_path / "whole" / "whole.pth")
    trainings = sorted(tmp_path.glob("killed-*/killed-*.pth"))
    assert trainings
    for path in trainings:
        tensors = load_tensors(path)
        assert tensors.keys() == whole.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensors[name], tensor), f"{path}: {name}"
