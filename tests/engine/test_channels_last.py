"""The memory layout changes where that is faster; the numbers do not."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader
from toy_training import EveryIteration, toy_data, toy_net, toy_runner

from leuko_mm.engine import channels_last
from leuko_mm.engine.channels_last import channels_last_helps

LAYOUT = torch.channels_last
AVX2 = dict(architecture="x86_64", avx2=True, avx512_f=False)
AVX512 = dict(AVX2, avx512_f=True)


def processor(monkeypatch, capabilities):
    monkeypatch.setattr(
        channels_last.torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )


@pytest.mark.parametrize(("capabilities", "expected"), [(AVX512, True), (AVX2, False)])
def test_weights_lie_as_the_processor_wants_them_from_the_first_iteration(
    tmp_path, monkeypatch, capabilities, expected
):
    processor(monkeypatch, capabilities)
    layouts = []

    def look(runner):
        weight = runner.model.backbone[0].weight
        layouts.append(weight.is_contiguous(memory_format=LAYOUT))

    runner = toy_runner(
        toy_net(), tmp_path, hooks=[dict(type="leuko_mm.ChannelsLastHook")]
    )
    runner.register_hook(EveryIteration(look))
    runner.train()
    assert layouts == [expected] * 6


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [(AVX512, True), (AVX2, False), (dict(architecture="aarch64"), True), ({}, True)],
)
def test_only_a_processor_known_to_be_slower_keeps_the_contiguous_layout(
    monkeypatch, capabilities, expected
):
    processor(monkeypatch, capabilities)
    assert channels_last_helps("cpu") is expected
    assert channels_last_helps(torch.device("cuda", 0)) is True


def test_a_torch_that_cannot_tell_the_processor_means_channels_last(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert channels_last_helps("cpu") is True


def test_a_test_is_channels_last_on_every_processor(tmp_path, monkeypatch):
    processor(monkeypatch, AVX2)
    net, layouts = toy_net(), []

    def answer(data):
        weight = net.backbone[0].weight
        layouts.append(weight.is_contiguous(memory_format=LAYOUT))
        return [BaseDataElement()]

    net.test_step = answer
    runner = toy_runner(
        net,
        tmp_path,
        hooks=[dict(type="leuko_mm.ChannelsLastHook")],
        test_dataloader=DataLoader(toy_data(), batch_size=4),
        test_cfg=dict(type="TestLoop"),
        test_evaluator=[],
    )
    runner.test()
    assert layouts
    assert all(layouts)


def test_training_gives_the_same_weights(tmp_path, monkeypatch):
    processor(monkeypatch, AVX512)
    weights = []
    for hooks in ([], [dict(type="leuko_mm.ChannelsLastHook")]):
        runner = toy_runner(toy_net(), tmp_path, hooks=hooks, data=toy_data(24))
        runner.train()
        weights.append(runner.model.backbone[0].weight.detach())
    torch.testing.assert_close(*weights, atol=1e-6, rtol=0)
