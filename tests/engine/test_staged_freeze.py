"""Frozen to the last bit before the thaw, trained from that step on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ddp_training
import pytest
import torch
from torch import nn
from toy_training import ADAM, EveryIteration, toy_net, toy_runner

from leuko_mm.engine import StagedFreezeHook, staged_freeze
from leuko_mm.engine.staged_freeze import (
    FeatureCache,
    available_mib,
    is_pretrained,
)
from leuko_mm.training.run_report import thaw_marks

# Maps of a frozen encoder.


class Encoder(nn.Module):
    """Two maps; counts the images that it computes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
        self.computed = 0
        self.eval().requires_grad_(False)

    def forward(self, images):
        self.computed += len(images)
        one = self.first(images)
        return one, self.second(one)


@pytest.fixture
def images():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_known_and_new_images_keep_their_places(images):
    encoder = Encoder()
    wanted = encoder(images)
    with FeatureCache(encoder, patience=100) as cache:
        for _ in range(2):
            encoder(images[:3])
        order = [4, 2, 5, 0, 0, 1]
        before = encoder.computed
        found = encoder(images[order])
        assert encoder.computed - before == 2
        assert cache.hits == 4
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs[order])


def test_a_changed_pixel_and_another_precision_are_other_images(images):
    encoder = Encoder()
    with FeatureCache(encoder, patience=100):
        for _ in range(3):
            encoder(images)
        changed = images.clone()
        changed[2, 1, 4, 4] += 1e-3
        found = encoder(changed)[0]
        with torch.autocast("cpu", torch.bfloat16):
            assert encoder(images)[0].dtype == torch.bfloat16
        assert encoder(images)[0].dtype == torch.float32
    torch.testing.assert_close(found, encoder(changed)[0])


def test_where_no_image_comes_again_it_is_off():
    encoder = Encoder()
    with FeatureCache(encoder, patience=8) as cache:
        for _ in range(6):
            encoder(torch.randn(4, 3, 8, 8))
        assert (cache.seen, cache.hits, cache.left) == (12, 0, 6144 * 2**20)


def test_maps_beyond_the_limit_are_computed_each_time(images):
    encoder = Encoder()
    one = sum(m[:1].numel() * 4 for m in encoder(images)) / 2**20
    with FeatureCache(encoder, patience=6, limit_mib=2.5 * one):
        for _ in range(3):
            encoder(images)
        before = encoder.computed
        encoder(images)
        assert encoder.computed - before == 4


def test_the_third_time_nothing_is_computed_and_stored_maps_are_copies(images):
    encoder = Encoder()
    wanted = [one.clone() for one in encoder(images)]
    with FeatureCache(encoder, patience=6):
        for _ in range(5):
            found = encoder(images)
            for ours, theirs in zip(found, wanted, strict=True):
                assert torch.equal(ours, theirs)
                ours.zero_()
    assert encoder.computed == 6 + 2 * 6


@pytest.mark.parametrize(
    ("cache_mib", "available", "calls"), [(64, 256, 2), (0, 256, 4), (64, 0, 4)]
)
def test_a_frozen_stage_uses_it_until_the_thaw(
    tmp_path, monkeypatch, cache_mib, available, calls
):
    """The toy data come in the same order of batches every epoch, unchanged."""
    monkeypatch.setattr(staged_freeze, "available_mib", lambda _: available)
    hook = freezing(epochs=4, cache_mib=cache_mib, only_pretrained=False)
    loop = dict(type="EpochBasedTrainLoop", max_epochs=6)
    runner = toy_runner(toy_net(), tmp_path, hooks=[hook], train_cfg=loop)
    counts, computed = [], []
    convolution = runner.model.backbone[0]
    convolution.register_forward_hook(lambda *_: counts.append(1))
    runner.register_hook(EveryIteration(lambda _: computed.append(len(counts))))
    runner.train()
    epoch = len(computed) // 6
    assert computed[4 * epoch - 1] == calls * epoch
    # Thawed, every batch is computed.
    assert computed[-1] - computed[4 * epoch - 1] == 2 * epoch


def test_the_available_memory_is_known_on_linux():
    assert available_mib(torch.zeros(1)) > 100


# Submodules by name, and where their weights come from.

FROM_FILE = dict(type="leuko_mm.EncoderWeights", checkpoint="vgg16")
RANDOM = dict(type="Kaiming", layer="Conv2d")


def model_with(**init_cfgs) -> nn.Module:
    model = nn.Module()
    model.outer = nn.Module()
    model.outer.inner = nn.Linear(2, 2)
    model.other = nn.Linear(2, 2)
    parts = dict(model=model, outer=model.outer, inner=model.outer.inner)
    for name, init_cfg in init_cfgs.items():
        parts[name].init_cfg = init_cfg
    return model


@pytest.mark.parametrize(
    ("init_cfgs", "expected"),
    [
        ({}, False),
        (dict(inner=FROM_FILE), True),
        (dict(inner=[RANDOM, FROM_FILE]), True),
        (dict(inner=[RANDOM]), False),
        (dict(inner=dict(type="Pretrained", checkpoint=None)), False),
        (dict(outer=FROM_FILE), True),
        (dict(model=FROM_FILE), True),
    ],
)
def test_a_file_of_the_submodule_or_above_it_counts(init_cfgs, expected):
    assert is_pretrained(model_with(**init_cfgs), "outer.inner") is expected


# The two stages.

EPOCHS_OF_TWO = dict(train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3), batch=20)
ONE_STEP = dict(type="IterBasedTrainLoop", max_iters=1)


def freezing(**options) -> dict:
    return dict(type="leuko_mm.StagedFreezeHook", **options)


def watch(runner) -> dict[str, list]:
    """Train and return the state of the encoder after each iteration."""
    seen = dict(gradients=[], weights=[], means=[], trainable=[])
    convolution = runner.model.backbone[0]
    convolution.weight.register_hook(lambda _: seen["gradients"].append(runner.iter))

    def look(runner):
        seen["weights"].append(convolution.weight.detach().clone())
        seen["trainable"].append(convolution.weight.requires_grad)
        for layer in runner.model.backbone:
            if isinstance(layer, torch.nn.BatchNorm2d):
                seen["means"].append(layer.running_mean.clone())

    runner.register_hook(EveryIteration(look))
    runner.train()
    return seen


@pytest.mark.parametrize(
    ("options", "settings", "first"),
    [
        (dict(iters=3), {}, 3),
        (dict(iters=0), {}, 0),
        (dict(epochs=1), EPOCHS_OF_TWO, 2),
        (dict(iters=3), EPOCHS_OF_TWO, 3),
    ],
    ids=["iters", "never", "epochs", "iters-within-an-epoch"],
)
def test_it_thaws_at_exactly_that_iteration(tmp_path, options, settings, first):
    model = toy_net(norm=True)
    # What the model itself keeps frozen stays so.
    model.backbone[0].bias.requires_grad_(False)
    start, head = (
        weight.detach().clone()
        for weight in (model.backbone[0].weight, model.head.bias)
    )
    mean = model.backbone[1].running_mean.clone()
    runner = toy_runner(model, tmp_path, hooks=[freezing(**options)], **settings)
    seen = watch(runner)
    assert seen["gradients"] == list(range(first, 6))
    assert seen["trainable"] == [i >= first for i in range(6)]
    for frozen in range(first):
        assert torch.equal(seen["weights"][frozen], start)
        assert torch.equal(seen["means"][frozen], mean)
    assert not torch.equal(seen["weights"][first], start)
    assert not torch.equal(seen["means"][first], mean)
    assert not torch.equal(model.head.bias, head)
    assert not model.backbone[0].bias.requires_grad


def test_the_thawed_submodule_steps_at_its_own_rate(tmp_path):
    model = toy_net()
    parts = dict(backbone=model.backbone[0].weight, head=model.head.weight)
    start = {name: p.detach().clone() for name, p in parts.items()}
    gradients = {}
    for name, parameter in parts.items():
        parameter.register_hook(lambda g, name=name: gradients.update({name: g}))
    wrapper = dict(
        constructor="leuko_mm.EncoderLrConstructor",
        paramwise_cfg=dict(lr_mult=0.1),
        optimizer=dict(type="SGD", lr=0.5),
    )
    settings = dict(train_cfg=ONE_STEP, optim_wrapper=wrapper)
    toy_runner(model, tmp_path, hooks=[freezing(iters=0)], **settings).train()
    for name, lr in dict(backbone=0.05, head=0.5).items():
        moved = parts[name].detach() - start[name]
        torch.testing.assert_close(moved, -lr * gradients[name])


@pytest.mark.parametrize(
    ("pretrained", "only", "frozen"),
    [(True, True, True), (False, True, False), (False, False, True)],
)
def test_random_weights_are_frozen_only_on_request(tmp_path, pretrained, only, frozen):
    hook = freezing(iters=9, only_pretrained=only)
    runner = toy_runner(toy_net(pretrained=pretrained), tmp_path, hooks=[hook])
    assert watch(runner)["trainable"] == [not frozen] * 6
    (own,) = [h for h in runner.hooks if isinstance(h, StagedFreezeHook)]
    assert own.acts is frozen
    # A curve marks the thaw of what was frozen, and no other.
    assert thaw_marks(runner) == ({9: "encoder thawed"} if frozen else {})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of six iterations, the first three frozen, and the weights."""
    folder = tmp_path_factory.mktemp("whole")
    runner = resumable(folder)
    runner.train()
    return folder, runner.model.state_dict()


def resumable(folder, **settings):
    keep = dict(type="CheckpointHook", by_epoch=False, interval=2)
    return toy_runner(
        toy_net(norm=True),
        folder,
        hooks=[freezing(iters=3)],
        optim_wrapper=ADAM,
        param_scheduler=dict(type="LinearLR", by_epoch=False, begin=0, end=6),
        default_hooks=dict(logger=None, checkpoint=keep),
        **settings,
    )


@pytest.mark.parametrize("stop", [2, 4])  # frozen, thawed
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, uninterrupted, stop):
    folder, expected = uninterrupted
    state = str(folder / f"iter_{stop}.pth")
    runner = resumable(tmp_path, load_from=state, resume=True)
    seen = watch(runner)
    assert seen["gradients"] == list(range(max(stop, 3), 6))
    for name, tensor in runner.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    """Return the folder that two processes, each with half a batch, have written."""
    folder = tmp_path_factory.mktemp("two")
    root = Path(__file__).resolve().parents[2]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launch, ddp_training.__file__, str(folder)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", ddp_training.CASES)
def test_two_processes_train_like_one(two_processes, tmp_path, case):
    report = json.loads((two_processes / f"{case}.json").read_text())
    assert report["drift"] == [0.0] * ddp_training.ITERATIONS
    assert report["wrappers"] == 1
    alone = ddp_training.train(case, tmp_path, processes=1)
    states = [
        torch.load(two_processes / f"{case}-{rank}.pth", weights_only=True)
        for rank in (0, 1)
    ]
    for name, tensor in alone.state_dict().items():
        assert torch.equal(states[0][name], states[1][name]), name
        torch.testing.assert_close(states[0][name], tensor, atol=1e-5, rtol=0)
