"""A runner is built: precision, the plain loop, what it logs, and what fails in it."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import torch

from leuko_mm.errors import UsageError
from leuko_mm.models.cbam import over_channels
from leuko_mm.training.building import (
    TrainingStartHook,
    announce_training,
    building_errors,
    first_errors,
    remove_run,
)
from leuko_mm.training.run import TrainRequest, prepare_config, train


@pytest.mark.parametrize("helps", [True, False])
def test_bfloat16_is_on_where_it_helps(tiny_config, monkeypatch, helps):
    def enabled(amp):
        config = prepare_config(TrainRequest(str(tiny_config), amp=amp))
        return config.optim_wrapper.enabled

    monkeypatch.setattr("leuko_mm.training.building.bfloat16_helps", lambda: helps)
    assert [enabled(amp) for amp in (None, True, False)] == [helps, True, False]


def test_bfloat16_needs_our_wrapper(tiny_config):
    def prepared(amp):
        other = {"optim_wrapper.type": "OptimWrapper"}
        return prepare_config(TrainRequest(str(tiny_config), options=other, amp=amp))

    with pytest.raises(UsageError, match="--amp needs"):
        prepared(True)
    assert "enabled" not in prepared(False).optim_wrapper


def test_nothing_that_makes_it_faster_is_left_and_what_is_learnt_stays():
    plain = prepare_config(TrainRequest("cbam_unet", protocol="half", plain=True))
    usual = prepare_config(TrainRequest("cbam_unet", protocol="half"))
    assert plain.optim_wrapper.type == "OptimWrapper"
    assert not {"enabled", "fused"} & set(plain.optim_wrapper)
    (freeze,) = plain.custom_hooks
    assert freeze == {**usual.custom_hooks[1], "cache_mib": 0}
    for key in ("optimizer", "constructor", "paramwise_cfg"):
        assert plain.optim_wrapper[key] == usual.optim_wrapper[key]
    for key in ("model", "train_dataloader", "train_cfg", "param_scheduler"):
        assert plain[key] == usual[key]


def test_the_log_says_what_a_setting_replaces(tiny_data, tiny_config, caplog):
    def logged(**asked):
        config = prepare_config(TrainRequest(str(tiny_config), **asked))
        logger = logging.getLogger("test")
        logger.log_file = None
        caplog.clear()
        with caplog.at_level("INFO", logger="test"):
            announce_training(
                SimpleNamespace(logger=logger, model=torch.nn.Linear(1, 1)), config
            )
        return caplog.text

    said = "setting   A: raw image, cross-entropy, instead of the config's leuko_mm.F"
    assert said in logged(setting="A")
    assert "instead" not in logged(setting="B")
    assert "setting " not in logged()


def trained(config, folder, **asked):
    """Return results and weights of a training of two iterations."""
    work_dir = train(TrainRequest(str(config), work_dir=str(folder), **asked))
    weights = torch.load(work_dir / f"{work_dir.name}.pth", weights_only=True)
    return json.loads((work_dir / "results.json").read_text()), weights


def test_the_plain_loop_learns_the_same(tiny_data, tiny_config, tmp_path, monkeypatch):
    kept, passes = [], []
    monkeypatch.setattr("leuko_mm.training.run.keep_memory", lambda: kept.append(1))

    def noted(x, *, one_pass):
        if not x.is_meta:  # a model whose multiply-adds are counted
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


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, AssertionError])
def test_a_config_that_does_not_build_is_the_users(kind):
    expected = pytest.raises(UsageError, match="does not build: no such part")
    with expected as caught, building_errors():
        raise kind("no such part")
    assert isinstance(caught.value.__cause__, kind)


@pytest.mark.parametrize("kind", [KeyError, RuntimeError])
@pytest.mark.parametrize("stepped", [True, False])
def test_once_an_iteration_has_ended_an_error_is_a_bug(stepped, kind):
    start = TrainingStartHook()
    start.before_train_epoch(SimpleNamespace(write_config=lambda: None))
    if stepped:
        start.after_train_iter(runner=None, batch_idx=0)
    with pytest.raises(kind if stepped else UsageError) as caught, first_errors(start):
        raise kind("no seg_map")
    if not stepped:
        assert "the first iteration failed" in str(caught.value)
        assert "no seg_map" in str(caught.value)


def test_a_replaced_run_is_removed_when_training_starts(tmp_path):
    mark = tmp_path / "results.json"
    mark.write_text("{}")
    written = []
    runner = SimpleNamespace(write_config=lambda: written.append(mark.exists()))
    TrainingStartHook().before_train_epoch(runner)
    assert mark.exists()
    start = TrainingStartHook(replaced=tmp_path)
    start.before_train_epoch(runner)
    assert not mark.exists()
    assert written == [True, False]


def test_nothing_of_a_removed_run_is_left(tmp_path):
    folder = tmp_path / "run[1]"
    (folder / "20260101_000000" / "vis_data").mkdir(parents=True)
    (folder / "overlays").mkdir()
    removed = [
        "last_checkpoint",
        "results.json",
        "metrics.json",
        "cells.npz",
        "iter_100.pth",
        "loss.png",
        "report.html",
        "table.md",
        "run[1].pth",
        "run[1].json",
        "overlays/09.png",
        "20260101_000000/vis_data/scalars.json",
    ]
    for name in [*removed, "notes.txt"]:
        (folder / name).write_text("")
    remove_run(folder)
    assert [name for name in removed if (folder / name).exists()] == []
    assert (folder / "notes.txt").exists()
    remove_run(tmp_path / "absent")
