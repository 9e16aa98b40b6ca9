"""The plain loop: nothing that only makes it faster, and all that is learnt alike."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.models.pooled_maps import over_channels
from leuko_mm.workflows.plain_loop import make_plain, plain_optimiser
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.train import TrainRequest, prepare_config, train


def kinds(config) -> list[str]:
    return [hook["type"] for hook in config.custom_hooks]


@pytest.fixture
def plain():
    return prepare_config(TrainRequest("cbam_unet", protocol="half", plain=True))


def test_nothing_that_makes_it_faster_is_left(plain):
    assert plain.optim_wrapper.type == "OptimWrapper"
    assert not {"enabled", "fused"} & set(plain.optim_wrapper)
    assert kinds(plain) == ["leuko_mm.StagedFreezeHook"]
    assert plain.custom_hooks[0].cache_mib == 0


def test_what_is_learnt_and_at_which_rate_stays(plain):
    usual = prepare_config(TrainRequest("cbam_unet", protocol="half"))
    assert plain.optim_wrapper.optimizer == usual.optim_wrapper.optimizer
    for key in ("constructor", "paramwise_cfg"):
        assert plain.optim_wrapper[key] == usual.optim_wrapper[key]
    for key in ("model", "train_dataloader", "train_cfg", "param_scheduler"):
        assert plain[key] == usual[key]
    assert plain.custom_hooks[0].iters == usual.custom_hooks[1].iters


def test_how_an_optimiser_steps_is_not_asked_for():
    options = {"optim_wrapper.optimizer.fused": True}
    config = resolve_config("unet", protocol="half", options=options)
    make_plain(config)
    assert "fused" not in config.optim_wrapper.optimizer


def test_what_an_optimiser_computes_stays():
    sgd = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True)
    found = plain_optimiser(dict(type="X", optimizer=dict(sgd, foreach=True)))
    assert found == dict(type="OptimWrapper", optimizer=sgd)


def test_a_foreign_wrapper_is_left_as_it_is():
    wrapper = dict(type="Own", optimizer=dict(type="SGD", lr=0.1, nesterov=True))
    config = Config(dict(optim_wrapper=copy.deepcopy(wrapper)))
    make_plain(config)
    assert config.optim_wrapper == wrapper
    assert config.custom_hooks == []


def test_bfloat16_in_the_plain_loop_is_refused():
    with pytest.raises(UsageError, match="--plain trains in float32"):
        prepare_config(TrainRequest("unet", protocol="half", plain=True, amp=True))


def trained(config, folder, **asked):
    """Return results and weights of a training of two iterations."""
    work_dir = train(TrainRequest(str(config), work_dir=str(folder), **asked))
    weights = torch.load(work_dir / f"{work_dir.name}.pth", weights_only=True)
    return json.loads((work_dir / "results.json").read_text()), weights


def test_the_plain_loop_learns_the_same(tiny_data, tiny_config, tmp_path, monkeypatch):
    kept, passes = [], []
    monkeypatch.setattr("leuko_mm.workflows.train.keep_memory", lambda: kept.append(1))

    def noted(x, *, one_pass):
        passes.append(one_pass)
        return over_channels(x, one_pass=one_pass)

    monkeypatch.setattr("leuko_mm.models.cbam.over_channels", noted)
    usual, fast = trained(tiny_config, tmp_path / "usual", amp=False)
    assert (len(kept), set(passes)) == (1, {True})
    passes.clear()
    plain, slow = trained(tiny_config, tmp_path / "plain", plain=True)
    assert (len(kept), set(passes)) == (1, {False})
    assert (usual["run"]["amp"], plain["run"]["amp"]) == (False, False)
    assert plain["run"]["config_sha256"] != usual["run"]["config_sha256"]
    apart = torch.cat([(fast[name] - slow[name]).abs().flatten() for name in slow])
    # A step moves a weight by 1e-4, where its gradient is all rounding, too.
    assert (apart < 2e-5).double().mean() > 0.95
