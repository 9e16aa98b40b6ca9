"""Bfloat16 inside the forward pass, float32 everywhere else."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from leuko_mm.engine import autocast
from leuko_mm.engine.autocast import AutocastOptimWrapper, bfloat16_helps
from leuko_mm.losses import FocalDiceLoss


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))


def wrapped(net, kind=AutocastOptimWrapper, **options):
    return kind(optimizer=torch.optim.SGD(net.parameters(), lr=0.2), **options)


def batch(seed: int = 0):
    torch.manual_seed(seed)
    target = torch.randint(0, 3, (2, 8, 8))
    return nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float(), target


def step(net, wrapper, seed: int = 0) -> float:
    image, target = batch(seed)
    with wrapper.optim_context(net):
        loss = FocalDiceLoss()(net(image), target)
    wrapper.update_params(loss)
    return loss.item()


@pytest.mark.parametrize("enabled", [True, False])
def test_only_the_activations_are_bfloat16(enabled):
    net, (image, target) = small_net(), batch()
    with wrapped(net, enabled=enabled).optim_context(net):
        logits = net(image)
        loss = FocalDiceLoss()(logits, target)
    loss.backward()
    assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
    assert loss.dtype == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in net.parameters()} == {torch.float32}


@pytest.mark.parametrize("helps", [True, False])
def test_unless_told_bfloat16_is_on_where_it_helps(helps, monkeypatch):
    monkeypatch.setattr(autocast, "bfloat16_helps", lambda: helps)
    assert wrapped(small_net()).enabled is helps
    for enabled in (True, False):
        assert wrapped(small_net(), enabled=enabled).enabled is enabled


def test_outside_the_context_nothing_is_cast():
    net, (image, _) = small_net(), batch()
    with wrapped(net).optim_context(net):
        pass
    assert net(image).dtype == torch.float32


def test_disabled_it_is_the_plain_wrapper_bit_for_bit():
    ours, theirs = small_net(), small_net()
    wrappers = wrapped(ours, enabled=False), wrapped(theirs, OptimWrapper)
    for seed in range(3):
        losses = [
            step(n, w, seed) for n, w in zip((ours, theirs), wrappers, strict=True)
        ]
        assert losses[0] == losses[1]
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_training_lowers_the_loss():
    net = small_net()
    wrapper = wrapped(net)
    losses = [step(net, wrapper) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_gradients_accumulate_to_the_mean_of_the_batches():
    net = small_net()
    start = copy.deepcopy(net)
    wrapper = wrapped(net, accumulative_counts=2)
    step(net, wrapper, seed=0)
    assert torch.equal(net[0].weight, start[0].weight)
    step(net, wrapper, seed=1)
    expected = []
    for seed in (0, 1):
        fresh = copy.deepcopy(start)
        step(fresh, wrapped(fresh), seed)
        expected.append(fresh[0].weight.detach())
    torch.testing.assert_close(
        net[0].weight.detach(), (expected[0] + expected[1]) / 2, atol=1e-6, rtol=0
    )
    assert not torch.equal(net[0].weight, start[0].weight)


def test_the_name_builds_from_a_config():
    config = dict(
        type="leuko_mm.AutocastOptimWrapper",
        enabled=False,
        optimizer=dict(type="SGD", lr=1),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        built = build_optim_wrapper(small_net(), config)
    assert type(built) is AutocastOptimWrapper
    assert built.enabled is False


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, False),
        (dict(avx2=True, avx512_f=True, avx512_bf16=False), False),
        (dict(avx512_bf16=True), True),
        (dict(amx_bf16=True), True),
    ],
)
def test_the_processor_decides_without_a_gpu(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        autocast.torch.cpu, "get_capabilities", lambda: capabilities, raising=False
    )
    assert bfloat16_helps() is expected


def test_a_torch_that_cannot_tell_means_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert bfloat16_helps() is False


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_only_emulates_bfloat16_does_not_count(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    assert bfloat16_helps() is native
