"""The convolutions that a network's rate is held against."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from leuko_mm.workflows.bench_convolution import build

SPEC = dict(batch=2, size=16, precision="float32", layout="channels-last", device="cpu")


def counted(**changes) -> float:
    call = build({**SPEC, **changes})
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def test_each_of_the_four_has_the_same_arithmetic():
    # 9 C^2 multiply-adds a pixel, on a map a quarter as large where C doubles.
    assert counted(job="predict") == 4 * 9 * 64**2 * 16**2 * 2


def test_training_takes_both_gradients_as_well():
    assert counted(job="train") == 3 * counted(job="predict")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_precision_and_layout_are_those_that_are_asked_for(
    precision, layout, monkeypatch
):
    seen = []
    real = torch.nn.functional.conv2d

    def watched(maps, weight, **options):
        seen.append((maps.dtype, maps.is_contiguous(), weight.dtype))
        return real(maps, weight, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    build({**SPEC, "job": "predict", "precision": precision, "layout": layout})()
    dtype = getattr(torch, precision)
    assert seen == [(dtype, layout == "contiguous", dtype)] * 4
