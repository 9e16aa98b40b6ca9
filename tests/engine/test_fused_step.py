"""Steps in one pass: the same weights, and nothing that was asked for is overruled."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from leuko_mm.engine.autocast import AutocastOptimWrapper
from leuko_mm.engine.fused_step import fuse_step

KINDS = [torch.optim.Adam, torch.optim.AdamW]


def network() -> nn.Module:
    torch.manual_seed(0)
    # A bias before a norm has no gradient but rounding, which Adam makes large.
    first = nn.Conv2d(3, 8, 3, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))


def trained(net: nn.Module, optimizer, steps: int = 20) -> torch.Tensor:
    for seed in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def fused_calls(optimizer) -> int:
    """Count the calls of the fused kernel in a step."""
    with torch.profiler.profile() as profile:
        optimizer.step()
    return sum("_fused_adam" in event.name for event in profile.events())


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_the_usual_step(kind):
    plain, fused = network(), network()
    usual = kind(plain.parameters(), lr=1e-2, weight_decay=1e-2)
    quick = kind(fused.parameters(), lr=1e-2, weight_decay=1e-2)
    assert fuse_step(quick)
    torch.testing.assert_close(
        trained(fused, quick), trained(plain, usual), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_is_the_fused_one(kind):
    net = network()
    optimizer = kind(net.parameters())
    fuse_step(optimizer)
    trained(net, optimizer, steps=1)
    assert fused_calls(optimizer) >= 1


@pytest.mark.parametrize(
    "asked",
    [
        dict(fused=False),
        dict(foreach=True),
        dict(foreach=False),
        dict(differentiable=True),
    ],
)
def test_what_was_asked_for_is_left(asked):
    optimizer = torch.optim.AdamW(network().parameters(), **asked)
    before = copy.deepcopy(optimizer.defaults)
    assert not fuse_step(optimizer)
    assert optimizer.defaults == before
    assert optimizer.param_groups[0]["fused"] == before["fused"]


def test_one_that_has_begun_goes_on_as_it_was():
    net = network()
    optimizer = torch.optim.AdamW(net.parameters())
    trained(net, optimizer, steps=1)
    assert not fuse_step(optimizer)


def test_an_older_state_is_resumed_as_it_was():
    net, again = network(), network()
    former = torch.optim.AdamW(net.parameters(), lr=1e-2)
    trained(net, former, steps=3)
    again.load_state_dict(net.state_dict())
    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.AdamW(again.parameters(), lr=1e-2)
    )
    wrapper.load_state_dict(copy.deepcopy(former.state_dict()))
    same = trained(again, wrapper.optimizer, 3), trained(net, former, 3)
    assert torch.equal(*same)


@pytest.mark.parametrize("fused", [True, False])
def test_the_wrapper_fuses_unless_told_otherwise(fused):
    optimizer = torch.optim.AdamW(network().parameters())
    AutocastOptimWrapper(optimizer=optimizer, fused=fused)
    assert bool(optimizer.param_groups[0]["fused"]) is fused


def test_other_optimisers_are_left_alone():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    assert not fuse_step(optimizer)
