"""The memory layout changes, the numbers do not."""

from __future__ import annotations

import torch
from toy_training import EveryIteration, toy_data, toy_net, toy_runner

LAYOUT = torch.channels_last


def test_weights_lie_channels_last_from_the_first_iteration(tmp_path):
    layouts = []

    def look(runner):
        weight = runner.model.backbone[0].weight
        layouts.append(weight.is_contiguous(memory_format=LAYOUT))

    runner = toy_runner(
        toy_net(), tmp_path, hooks=[dict(type="leuko_mm.ChannelsLastHook")]
    )
    runner.register_hook(EveryIteration(look))
    runner.train()
    assert layouts == [True] * 6


def test_training_gives_the_same_weights(tmp_path):
    weights = []
    for hooks in ([], [dict(type="leuko_mm.ChannelsLastHook")]):
        runner = toy_runner(toy_net(), tmp_path, hooks=hooks, data=toy_data(24))
        runner.train()
        weights.append(runner.model.backbone[0].weight.detach())
    torch.testing.assert_close(*weights, atol=1e-6, rtol=0)
