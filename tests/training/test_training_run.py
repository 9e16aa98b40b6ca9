"""All processes of a training go on from one state, or none trains.

A checkpoint is tested with what its training used.

What a training request becomes, before anything is trained.
"""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from torch import nn

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.checkpoints import UnsafeCheckpointError
from leuko_mm.errors import UsageError
from leuko_mm.training import run as going_on
from leuko_mm.training.building import BeginningHook, building_errors, forget_run
from leuko_mm.training.results import place_run
from leuko_mm.training.run import (
    TestRequest,
    TrainRequest,
    check_same_start,
    go_on_from,
    load_model,
    prepare_config,
    run_test,
)


def config_of(work_dir, **more) -> Config:
    return Config(dict(work_dir=str(work_dir), load_from=None, **more))


def test_the_newest_state_is_gone_on_from(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / "iter_3.pth")
    config = config_of(tmp_path)
    go_on_from(config, tmp_path)
    assert config.resume is True
    assert config.load_from == str(tmp_path / "iter_3.pth")


def test_without_a_state_it_begins_at_its_start(tmp_path, caplog):
    config = config_of(tmp_path)
    with caplog.at_level("WARNING", "leuko_mm"):
        go_on_from(config, tmp_path)
    assert (config.resume, config.load_from) == (False, None)
    assert "nothing to resume" in caplog.text


def test_a_single_process_agrees_with_itself(tmp_path):
    check_same_start(config_of(tmp_path, resume=False))


@pytest.mark.parametrize("starts", [["iter_5.pth"] * 2, [None, None]])
def test_processes_that_agree_may_train(tmp_path, monkeypatch, starts):
    monkeypatch.setattr(going_on, "all_gather_object", lambda own: starts)
    check_same_start(config_of(tmp_path, resume=False))


def test_processes_that_do_not_agree_are_told_what_to_copy(tmp_path, monkeypatch):
    config = config_of(tmp_path, resume=True)
    config.load_from = str(tmp_path / "iter_5.pth")
    monkeypatch.setattr(going_on, "all_gather_object", lambda own: [own, None])
    said = "process 0 goes on from iter_5.pth, process 1 from its start"
    with pytest.raises(UsageError, match=said) as caught:
        check_same_start(config)
    assert "copy its newest one" in str(caught.value)


class Holder:
    """The part of a runner that loading uses."""

    def __init__(self):
        self.model = nn.Conv2d(1, 2, 1)


def test_every_weight_is_loaded(tmp_path):
    runner, other = Holder(), Holder()
    torch.save(other.model.state_dict(), tmp_path / "a.pth")
    load_model(runner, tmp_path / "a.pth")
    assert torch.equal(runner.model.weight, other.model.weight)


def test_a_training_state_is_loaded_too(tmp_path):
    runner, other = Holder(), Holder()
    state = {"meta": {}, "state_dict": other.model.state_dict()}
    torch.save(state, tmp_path / "a.pth")
    load_model(runner, tmp_path / "a.pth")
    assert torch.equal(runner.model.bias, other.model.bias)


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(2, 1, 1, 1)},
        {"weight": torch.zeros(2, 1, 1, 1), "bias": torch.zeros(3)},
        {
            "weight": torch.zeros(2, 1, 1, 1),
            "bias": torch.zeros(2),
            "more": torch.zeros(1),
        },
    ],
    ids=["missing", "another shape", "left over"],
)
def test_a_part_of_the_weights_is_not_enough(tmp_path, tensors):
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(
        UsageError, match=r"a\.pth does not fit the config: .*(bias|more)"
    ):
        load_model(Holder(), tmp_path / "a.pth")


def test_a_missing_file_is_named(tiny_config):
    request = TestRequest(config=str(tiny_config), checkpoint="absent.pth")
    with pytest.raises(UsageError, match=r"absent\.pth does not exist"):
        run_test(request)


def test_nobody_vouches_without_a_sidecar(tiny_data, tiny_config, tmp_path, caplog):
    path = tmp_path / "alone.pth"
    torch.save({}, path)
    # The empty file is refused, after the warning.
    with pytest.raises((UsageError, ValueError)):
        run_test(TestRequest(str(tiny_config), str(path), split="fold5"))
    assert "alone.pth has no sidecar (alone.json)" in caplog.text


def prepared(config, **wishes):
    return prepare_config(TrainRequest(config=str(config), **wishes))


def test_the_folder_tells_what_was_run(tiny_config):
    assert prepared(tiny_config).work_dir == "work_dirs/tiny-smoke-fold5-s0"
    config = prepared(tiny_config, protocol="half", split="fold2", seed=3)
    assert config.work_dir == "work_dirs/tiny-half-fold2-s3"


def test_other_data_has_a_folder_of_its_own(tiny_config):
    own = "work_dirs/tiny-smoke-fold5-s0"
    assert prepared(tiny_config, data="synthetic").work_dir == own
    assert prepared(tiny_config, data="smears").work_dir == f"{own}-smears"
    assert prepared(tiny_config, data="/srv/data/mine").work_dir == f"{own}-mine"
    assert prepared(tiny_config, data="mine", work_dir="here").work_dir == "here"


def test_a_variant_has_a_folder_of_its_own(tiny_config):
    tiny_config.write_text(tiny_config.read_text() + "variant = 'plain'\n")
    assert prepared(tiny_config).work_dir == "work_dirs/tiny-plain-smoke-fold5-s0"


def test_the_folder_reaches_every_place(tiny_config):
    config = prepared(tiny_config, work_dir="here/there")
    assert config.work_dir == config.test_evaluator.out_dir == "here/there"
    assert config.experiment_name.startswith("there-")


def test_two_runs_share_no_name(tiny_config):
    names = {prepared(tiny_config).experiment_name for _ in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize("helps", [True, False])
def test_bfloat16_is_on_where_it_helps(tiny_config, monkeypatch, helps):
    monkeypatch.setattr("leuko_mm.training.building.bfloat16_helps", lambda: helps)
    assert prepared(tiny_config).optim_wrapper.enabled is helps
    assert prepared(tiny_config, amp=True).optim_wrapper.enabled is True
    assert prepared(tiny_config, amp=False).optim_wrapper.enabled is False


def test_bfloat16_needs_our_wrapper(tiny_config):
    other = {"optim_wrapper.type": "OptimWrapper"}
    with pytest.raises(UsageError, match="--amp needs"):
        prepared(tiny_config, options=other, amp=True)
    config = prepared(tiny_config, options=other, amp=False)
    assert "enabled" not in config.optim_wrapper


@pytest.mark.parametrize("evaluator", [dict(type="IoUMetric"), [dict(type="x")]])
def test_results_need_our_evaluator(tiny_config, evaluator):
    config = prepared(tiny_config)
    config.test_evaluator = evaluator
    with pytest.raises(UsageError, match="test_evaluator must be"):
        place_run(config, "here")


def test_a_former_run_leaves_no_trace(tmp_path):
    logs = tmp_path / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    (tmp_path / "overlays").mkdir()
    gone = [
        "last_checkpoint",
        "results.json",
        "metrics.json",
        "cells.npz",
        "iter_100.pth",
        "loss.png",
        "report.html",
        "table.md",
        f"{tmp_path.name}.pth",
        f"{tmp_path.name}.json",
        "overlays/09.png",
        "20260101_000000/vis_data/scalars.json",
    ]
    for name in [*gone, "notes.txt"]:
        (tmp_path / name).write_text("")
    forget_run(tmp_path)
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert (tmp_path / "notes.txt").exists()
    forget_run(tmp_path / "absent")


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, AssertionError])
def test_a_config_that_does_not_build_is_the_users(kind):
    expected = pytest.raises(UsageError, match="does not build: no such part")
    with expected as caught, building_errors():
        raise kind("no such part")
    assert isinstance(caught.value.__cause__, kind)


def test_a_former_run_is_forgotten_when_training_begins(tmp_path):
    mark = tmp_path / "results.json"
    mark.write_text("{}")
    BeginningHook().before_train_epoch(runner=None)
    assert mark.exists()
    beginning = BeginningHook(former=tmp_path)
    beginning.before_train_epoch(runner=None)
    assert not mark.exists()
    # A run in epochs begins many, and its own files stay.
    mark.write_text("{}")
    beginning.before_train_epoch(runner=None)
    assert mark.exists()


@pytest.mark.parametrize("begun", [True, False])
def test_once_training_has_begun_an_error_is_a_bug(begun):
    beginning = BeginningHook()
    if begun:
        beginning.before_train_epoch(runner=None)
    expected = KeyError if begun else UsageError
    with pytest.raises(expected), building_errors(beginning):
        raise KeyError("seg_map")


@pytest.mark.parametrize("kind", [DatasetError, UnsafeCheckpointError, RuntimeError])
def test_other_errors_keep_their_kind(kind):
    with pytest.raises(kind), building_errors():
        raise kind("something else")
