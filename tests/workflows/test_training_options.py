"""What the command of a training changed."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.training_options import training_options

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
