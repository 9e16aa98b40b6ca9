"""What a training request becomes, before anything is trained."""

import pytest

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.safe_load import UnsafeCheckpointError
from leuko_mm.errors import UsageError
from leuko_mm.workflows.beginning import BeginningHook, forget_run
from leuko_mm.workflows.run_place import place_run
from leuko_mm.workflows.train import (
    TrainRequest,
    building_errors,
    prepare_config,
)


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
    monkeypatch.setattr("leuko_mm.workflows.precision.bfloat16_helps", lambda: helps)
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
