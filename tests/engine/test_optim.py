"""Bfloat16 inside the forward pass, float32 everywhere else.

The memory layout changes where that is faster; the numbers do not.

Two parameter groups, of which a pretrained encoder learns slower.

Steps in one pass: the same weights, and nothing that was asked for is overruled.

What is tested is the mean of the last weights, in one part or in two.
"""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import DataLoader
from toy_training import ADAM, EveryIteration, toy_data, toy_net, toy_runner

from leuko_mm.engine import EncoderLrConstructor, WeightAveragingHook
from leuko_mm.engine import optim as autocast
from leuko_mm.engine import optim as channels_last
from leuko_mm.engine.optim import (
    AutocastOptimWrapper,
    bfloat16_helps,
    channels_last_helps,
    fuse_step,
)
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


def test_a_random_encoder_learns_at_the_full_rate():
    encoder, rest = groups_of(toy_net(pretrained=False))
    assert encoder["lr"] == rest["lr"] == 0.5


def test_another_part_may_be_the_encoder():
    model = toy_net()
    model.head.init_cfg = dict(checkpoint="head.pth")
    encoder, _ = groups_of(model, module="head")
    assert ids(encoder["params"]) == ids(model.head.parameters())
    assert encoder["lr"] == pytest.approx(0.05)


def test_parameters_that_are_not_trained_are_left_out():
    model = toy_net()
    model.backbone.requires_grad_(False)
    (rest,) = groups_of(model)
    assert ids(rest["params"]) == ids(model.head.parameters())


def test_a_shared_parameter_is_the_encoders_alone():
    model = toy_net()
    model.head.bias = model.backbone[0].bias
    encoder, rest = groups_of(model)
    assert ids(encoder["params"]) == ids(model.backbone.parameters())
    assert ids(rest["params"]) == [id(model.head.weight)]


def test_a_step_equals_that_of_mmengines_constructor():
    by_name = dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    theirs = dict(
        type="OptimWrapper", optimizer=ADAM["optimizer"], paramwise_cfg=by_name
    )
    weights = []
    for config in (dict(ADAM, fused=False), theirs):
        model = toy_net()
        with DefaultScope.overwrite_default_scope("mmseg"):
            wrapper = build_optim_wrapper(model, config)
        for seed in range(3):
            torch.manual_seed(seed)
            image, target = torch.randn(2, 3, 6, 6), torch.randn(2, 2, 6, 6)
            wrapper.update_params(model(image, target)["loss"])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("wrapper", "options", "message"),
    [
        (WRAPPER, None, "needs lr_mult"),
        (WRAPPER, dict(module="backbone"), "needs lr_mult"),
        (WRAPPER, dict(lr_mult=0.1, custom_keys={}), "no other option"),
        (dict(optimizer=dict(type="AdamW")), dict(lr_mult=0.1), "without lr"),
    ],
)
def test_unusable_options_raise(wrapper, options, message):
    with pytest.raises(ValueError, match=message):
        EncoderLrConstructor(wrapper, options)


def test_an_unknown_part_raises():
    with pytest.raises(ValueError, match="no part 'encoder'"):
        groups_of(toy_net(), module="encoder")


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


STATES = dict(
    default_hooks=dict(
        logger=None, checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=4)
    )
)


def averaging(begin: float) -> dict:
    return dict(type="leuko_mm.WeightAveragingHook", begin=begin)


def trained_weight_averaging(work_dir, *hooks, **settings):
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
    runner, seen = trained_weight_averaging(tmp_path, averaging(begin))
    for name, found in runner.model.state_dict().items():
        steps = [weights[name] for weights in seen[-counted:]]
        if found.is_floating_point():
            torch.testing.assert_close(found, torch.stack(steps).mean(dim=0))
    # Which is another network than the last one, stored statistics included.
    last = seen[-1]["backbone.1.running_mean"]
    now = runner.model.state_dict()["backbone.1.running_mean"]
    assert torch.equal(now, last) == (counted == 1)


def test_averaging_changes_no_step(tmp_path):
    _, seen = trained_weight_averaging(tmp_path / "with", averaging(0.5))
    _, without = trained_weight_averaging(tmp_path / "without")
    for one, other in zip(seen, without, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_in_two_parts_ends_with_the_same_mean(tmp_path):
    whole, _ = trained_weight_averaging(tmp_path / "whole", averaging(0.5))
    part = tmp_path / "parts"
    trained_weight_averaging(part, averaging(0.5), **STATES)
    (part / "iter_6.pth").unlink()
    state = str(part / "iter_4.pth")
    runner, seen = trained_weight_averaging(
        part, averaging(0.5), resume=True, load_from=state, **STATES
    )
    assert len(seen) == 2
    expected = whole.model.state_dict()
    for name, found in runner.model.state_dict().items():
        torch.testing.assert_close(found, expected[name])


@pytest.mark.parametrize("begin", [-0.1, 1, 50])
def test_a_begin_that_is_no_share_is_refused(begin):
    with pytest.raises(ValueError, match=f"share of the training, got {begin}"):
        WeightAveragingHook(begin=begin)
