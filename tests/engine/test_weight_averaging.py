"""What is tested is the mean of the last weights, in one part or in two."""

from __future__ import annotations

import pytest
import torch
from toy_training import ADAM, EveryIteration, toy_net, toy_runner

from leuko_mm.engine import WeightAveragingHook

STATES = dict(
    default_hooks=dict(
        logger=None, checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=4)
    )
)


def averaging(begin: float) -> dict:
    return dict(type="leuko_mm.WeightAveragingHook", begin=begin)


def trained(work_dir, *hooks, **settings):
    """Train a toy of 6 iterations; return its runner and the weights of every step."""
    seen = []

    def keep(runner):
        seen.append({k: v.clone() for k, v in runner.model.state_dict().items()})

    runner = toy_runner(
        toy_net(norm=True),
        work_dir,
        hooks=[EveryIteration(keep), *hooks],
        optim_wrapper=ADAM,
        **settings,
    )
    runner.train()
    return runner, seen


@pytest.mark.parametrize(("begin", "counted"), [(0, 6), (0.5, 3), (0.9, 1)])
def test_a_training_ends_with_the_mean_of_its_last_weights(tmp_path, begin, counted):
    runner, seen = trained(tmp_path, averaging(begin))
    for name, found in runner.model.state_dict().items():
        steps = [weights[name] for weights in seen[-counted:]]
        if found.is_floating_point():
            torch.testing.assert_close(found, torch.stack(steps).mean(dim=0))
    # Which is another network than the last one, stored statistics included.
    last = seen[-1]["backbone.1.running_mean"]
    now = runner.model.state_dict()["backbone.1.running_mean"]
    assert torch.equal(now, last) == (counted == 1)


def test_averaging_changes_no_step(tmp_path):
    _, seen = trained(tmp_path / "with", averaging(0.5))
    _, without = trained(tmp_path / "without")
    for one, other in zip(seen, without, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_in_two_parts_ends_with_the_same_mean(tmp_path):
    whole, _ = trained(tmp_path / "whole", averaging(0.5))
    part = tmp_path / "parts"
    trained(part, averaging(0.5), **STATES)
    (part / "iter_6.pth").unlink()
    state = str(part / "iter_4.pth")
    runner, seen = trained(part, averaging(0.5), resume=True, load_from=state, **STATES)
    assert len(seen) == 2
    expected = whole.model.state_dict()
    for name, found in runner.model.state_dict().items():
        torch.testing.assert_close(found, expected[name])


@pytest.mark.parametrize("begin", [-0.1, 1, 50])
def test_a_begin_that_is_no_share_is_refused(begin):
    with pytest.raises(ValueError, match=f"share of the training, got {begin}"):
        WeightAveragingHook(begin=begin)
