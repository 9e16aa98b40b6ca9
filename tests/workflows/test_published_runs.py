"""Published runs: trainings and tests of what they trained."""

from __future__ import annotations

import json

import pytest
from generated_results import write_run

from leuko_mm.workflows.published_runs import read_runs


@pytest.mark.parametrize(
    ("command", "is_test"),
    [
        ("leuko train unet --protocol half", False),
        ("python tools/train.py unet", False),
        ("tools/train.py unet --split test", False),
        ("leuko test unet unet.pth", True),
        ("python tools/test.py unet unet.pth", True),
    ],
)
def test_the_command_tells_a_test_from_a_training(tmp_path, command, is_test):
    # Of single cells, whose images do not tell the one from the other.
    path = write_run(tmp_path, "unet", "A", n=1)
    content = json.loads(path.read_text())
    content["run"]["command"] = command
    path.write_text(json.dumps(content))
    (run,) = read_runs(tmp_path).runs
    assert run.is_test == is_test
    assert run.mean_iou == pytest.approx(content["metrics"]["mIoU"])
