"""Precision, memory layout, parameter groups, fused steps and averaged weights."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn
from toy_training import ADAM, EveryIteration, toy_data, toy_net, toy_runner

from leuko_mm.engine import EncoderLrConstructor
from leuko_mm.engine.optim import AutocastOptimWrapper, bfloat16_helps, fuse_step
from leuko_mm.losses import FocalDiceLoss

LAYOUT = torch.channels_last
AVX2 = dict(architecture="x86_64", avx2=True, avx512_f=False)
AVX512 = dict(AVX2, avx512_f=True)


@pytest.fixture
def processor(monkeypatch):
    """Return a function that sets what torch tells of the processor."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def pretend(capabilities):
        if capabilities is None:  # a torch that does not tell
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        else:
            monkeypatch.setattr(
                torch.cpu, "get_capabilities", lambda: capabilities, raising=False
            )

    return pretend


def build(model, config):
    with DefaultScope.overwrite_default_scope("mmseg"):
        return build_optim_wrapper(model, config)


# Bfloat16.


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


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        (None, False),
        ({}, False),
        (dict(avx2=True, avx512_f=True, avx512_bf16=False), False),
        (dict(avx512_bf16=True), True),
        (dict(amx_bf16=True), True),
    ],
)
def test_the_processor_decides_without_a_gpu(processor, capabilities, expected):
    processor(capabilities)
    assert bfloat16_helps() is expected


def test_the_processor_decides_beside_a_gpu_that_does_not_compute(
    processor, monkeypatch
):
    processor(AVX2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert bfloat16_helps("cuda:0")
    assert not bfloat16_helps("cpu")
    assert not wrapped(small_net()).enabled


# Memory layout.


@pytest.mark.parametrize(("capabilities", "expected"), [(AVX512, True), (AVX2, False)])
def test_weights_have_the_processors_layout_from_the_first_iteration(
    tmp_path, processor, capabilities, expected
):
    processor(capabilities)
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


def test_training_gives_the_same_weights_in_both_layouts(tmp_path, processor):
    processor(AVX512)
    weights = []
    for hooks in ([], [dict(type="leuko_mm.ChannelsLastHook")]):
        runner = toy_runner(toy_net(), tmp_path, hooks=hooks, data=toy_data(24))
        runner.train()
        weights.append(runner.model.backbone[0].weight.detach())
    torch.testing.assert_close(*weights, atol=1e-6, rtol=0)


# Parameter groups.

WRAPPER = dict(optimizer=dict(type="SGD", lr=0.5, weight_decay=0.01))


def groups_of(model, **options):
    wrapper = EncoderLrConstructor(WRAPPER, dict(lr_mult=0.1, **options))(model)
    return wrapper.optimizer.param_groups


def ids(parameters) -> list[int]:
    return [id(p) for p in parameters]


def test_encoder_and_rest_are_the_two_groups():
    model = toy_net(norm=True)
    encoder, rest = groups_of(model)
    assert ids(encoder["params"]) == ids(model.backbone.parameters())
    assert ids(rest["params"]) == ids(model.head.parameters())
    assert (encoder["lr"], rest["lr"]) == pytest.approx((0.05, 0.5))
    assert encoder["weight_decay"] == rest["weight_decay"] == 0.01


def test_frozen_parameters_are_left_out_and_shared_ones_are_the_encoders():
    model = toy_net()
    model.head.bias = model.backbone[0].bias
    encoder, rest = groups_of(model)
    assert ids(encoder["params"]) == ids(model.backbone.parameters())
    assert ids(rest["params"]) == [id(model.head.weight)]
    model.backbone.requires_grad_(False)
    (rest,) = groups_of(model)
    assert ids(rest["params"]) == [id(model.head.weight)]


def test_a_step_equals_that_of_mmengines_constructor():
    by_name = dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    theirs = dict(
        type="OptimWrapper", optimizer=ADAM["optimizer"], paramwise_cfg=by_name
    )
    weights = []
    for config in (dict(ADAM, fused=False), theirs):
        model = toy_net()
        wrapper = build(model, config)
        for seed in range(3):
            torch.manual_seed(seed)
            image, target = torch.randn(2, 3, 6, 6), torch.randn(2, 2, 6, 6)
            wrapper.update_params(model(image, target)["loss"])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


# Fused steps.


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


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_the_weights_are_those_of_the_default_step(kind):
    plain, fused = network(), network()
    default = kind(plain.parameters(), lr=1e-2, weight_decay=1e-2)
    quick = kind(fused.parameters(), lr=1e-2, weight_decay=1e-2)
    assert fuse_step(quick)
    torch.testing.assert_close(
        trained(fused, quick), trained(plain, default), rtol=1e-4, atol=1e-5
    )
    with torch.profiler.profile() as profile:
        quick.step()
    assert any("_fused_adam" in event.name for event in profile.events())


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


# Averaged weights.

KEEP = dict(type="CheckpointHook", by_epoch=False, interval=4)
STATES = dict(default_hooks=dict(logger=None, checkpoint=KEEP))


def averaging(begin: float) -> dict:
    return dict(type="leuko_mm.WeightAveragingHook", begin=begin)


def train_toy(work_dir, *hooks, **settings):
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
    runner, seen = train_toy(tmp_path, averaging(begin))
    for name, found in runner.model.state_dict().items():
        steps = [weights[name] for weights in seen[-counted:]]
        if found.is_floating_point():
            torch.testing.assert_close(found, torch.stack(steps).mean(dim=0))
    # Another network than the last one, running statistics included.
    last = seen[-1]["backbone.1.running_mean"]
    now = runner.model.state_dict()["backbone.1.running_mean"]
    assert torch.equal(now, last) == (counted == 1)


def test_a_resumed_training_ends_with_the_same_mean(tmp_path):
    whole, _ = train_toy(tmp_path / "whole", averaging(0.5))
    part = tmp_path / "parts"
    train_toy(part, averaging(0.5), **STATES)
    (part / "iter_6.pth").unlink()
    state = str(part / "iter_4.pth")
    runner, seen = train_toy(
        part, averaging(0.5), resume=True, load_from=state, **STATES
    )
    assert len(seen) == 2
    expected = whole.model.state_dict()
    for name, found in runner.model.state_dict().items():
        torch.testing.assert_close(found, expected[name])
