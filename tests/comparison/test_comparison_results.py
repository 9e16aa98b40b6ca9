"""Published runs: trainings and tests of what they trained.

What the command of a training changed.
"""

from __future__ import annotations

import json

import pytest
from generated_results import write_run

from leuko_mm.comparison.results import read_runs, training_options


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


TRAIN = "leuko train cbam_unet --protocol half --cfg-options"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("leuko train cbam_unet --protocol half", []),
        (f"{TRAIN} variant=fast", []),
        (
            f"{TRAIN} a.b.lr_mult=0.3 data.layout=smear --seed 1",
            ["lr_mult=0.3", "layout=smear"],
        ),
        (f"{TRAIN} 'a.widths=[1, 2]' fields=0", ["widths=[1, 2]", "fields=0"]),
        # A path has dots of its own.
        (f"{TRAIN} a.file=work_dirs/x.y/z.pth", ["file=work_dirs/x.y/z.pth"]),
        (
            "leuko test cbam_unet x.pth --cfg-options model.type=leuko_mm.Cells "
            "model.test_cfg.least_area=250 test_dataloader.dataset.n=3",
            [],
        ),
        (f"{TRAIN} a.name='unfinished", []),
    ],
)
def test_what_a_training_changed_is_said_without_what_it_stands_in(command, told):
    assert training_options(command) == told
