"""Wrapping again, and starting several processes without a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from leuko_mm.engine import optim
from leuko_mm.engine.optim import ChannelsLastHook
from leuko_mm.engine.runner import prepare_launcher, unwrapped, wrap_again


@pytest.fixture
def one_process(tmp_path, monkeypatch):
    """Be the only process of a process group, as torchrun starts it."""
    # The test must not depend on a free port, so the processes meet in a file.
    start = distributed.init_process_group

    def meet_in_a_file(backend):
        start(backend, init_method=f"file://{tmp_path}/met", rank=0, world_size=1)

    monkeypatch.setattr(distributed, "init_process_group", meet_in_a_file)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def runner_of(model):
    return SimpleNamespace(
        model=model,
        cfg={},
        wrap_model=lambda cfg, module: DistributedDataParallel(module),
    )


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3)


def gradient(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    model(torch.randn(2, 3, 6, 6)).square().mean().backward()
    return unwrapped(model).weight.grad


def test_a_model_without_a_wrapper_stays_as_it_is():
    for model in (nn.Linear(1, 1), DataParallel(nn.Linear(1, 1))):
        runner = runner_of(model)
        wrap_again(runner)
        assert runner.model is model
    assert unwrapped(model) is model.module


def test_module_modes_and_a_compiled_step_survive(one_process):
    prepare_launcher(Config(dict(launcher="pytorch")))
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1))
    runner, compiled = runner_of(DistributedDataParallel(model)), []
    runner._maybe_compile = compiled.append
    former = runner.model.train(False)
    model[1].train()
    wrap_again(runner)
    assert runner.model is not former
    assert runner.model.module is model
    assert [m.training for m in (runner.model, *model)] == [False, False, True]
    assert compiled == []
    runner.model.train_step = lambda: None
    wrap_again(runner)
    assert compiled == ["train_step"]


def test_the_first_gradient_after_a_change_of_layout_is_right(one_process, monkeypatch):
    monkeypatch.setattr(optim, "channels_last_helps", lambda device: True)
    prepare_launcher(Config(dict(launcher="pytorch")))
    expected = gradient(convolution())
    runner = runner_of(DistributedDataParallel(convolution()))
    ChannelsLastHook().before_run(runner)
    torch.testing.assert_close(gradient(runner.model), expected)


def test_without_a_gpu_the_processes_meet_over_gloo(one_process):
    config = Config(dict(launcher="pytorch"))
    prepare_launcher(config)
    assert distributed.get_backend() == "gloo"
    assert config.model_wrapper_cfg.device_ids is None
    # The user's own wrapper is kept.
    config.model_wrapper_cfg = dict(type="Mine")
    prepare_launcher(config)
    assert config.model_wrapper_cfg == dict(type="Mine")
