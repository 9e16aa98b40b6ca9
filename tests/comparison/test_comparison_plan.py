"""Which runs a comparison consists of, and what they are called."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest
from tiny_run import make_data, write_config

from leuko_mm.cli import train
from leuko_mm.comparison import plan
from leuko_mm.comparison.plan import (
    CompareRequest,
    plan_rows,
    plan_runs,
    replaced_losses,
)
from leuko_mm.errors import UsageError
from leuko_mm.training.config import config_hash
from leuko_mm.training.results import as_typed
from leuko_mm.training.run import prepare_config


def planned(tiny_config, **wishes):
    wishes = {"methods": [str(tiny_config)], "settings": ["own"], **wishes}
    return plan_runs(CompareRequest(protocol="smoke", **wishes))


def test_methods_by_settings_splits_and_seeds(tiny_data, tiny_config):
    runs = planned(
        tiny_config,
        settings=["own", "A", "B"],
        splits=["fold1", "fold2"],
        seeds=[0, 3],
    )
    assert len(runs) == 12
    # A row of each method first, then the next split, then the next seed.
    assert [run.name for run in runs[:4]] == [
        "tiny-smoke-fold1-s0",
        "tiny-A-smoke-fold1-s0",
        "tiny-B-smoke-fold1-s0",
        "tiny-smoke-fold2-s0",
    ]
    assert runs[-1].target == Path("results/smoke/tiny-B-fold2-s3.json")
    assert len({run.identity["config_sha256"] for run in runs}) == 12
    assert len({run.work_dir for run in runs}) == 12


@pytest.mark.parametrize(
    ("methods", "ablations", "rows"),
    [
        (None, None, ["a", "b", "ablation/x", "ablation/y"]),
        (["a"], None, ["a"]),
        (None, ["x"], ["ablation/x"]),
        (["a", "all"], ["ablation/y", "all"], ["a", "b", "ablation/y", "ablation/x"]),
    ],
)
def test_what_is_not_named_is_all_or_nothing(monkeypatch, methods, ablations, rows):
    names = ["a", "ablation/x", "ablation/y", "b", "quickstart"]
    monkeypatch.setattr(plan, "config_names", lambda: names)
    request = CompareRequest(protocol="smoke", methods=methods, ablations=ablations)
    expected = [
        (name, setting)
        for name in rows
        for setting in ([None] if "/" in name else [None, "A", "B"])
    ]
    assert plan_rows(request) == expected


OTHER_LOSS = """
model['decode_head']['loss_decode'] = [
    dict(type='leuko_mm.FocalDiceLoss'), dict(type='TverskyLoss')]
"""


def test_a_loss_that_the_settings_replace_is_named(tiny_data, tmp_path):
    path = write_config(tmp_path, more=OTHER_LOSS)
    runs = planned(path, settings=["own", "A", "B"], splits=["fold1", "fold2"])
    said = (
        "tiny: its loss TverskyLoss is replaced under setting A and B; --settings own "
        "keeps it"
    )
    assert replaced_losses(runs) == [said]
    assert replaced_losses(planned(path)) == []
    usual = write_config(tmp_path, name="usual")
    assert replaced_losses(planned(usual, settings=["A", "B"])) == []


def test_the_config_is_the_one_that_training_resolves(tiny_data, tiny_config):
    (run,) = planned(tiny_config, amp=False, options={"train_cfg.max_iters": 7})
    assert run.iterations == 7
    assert config_hash(prepare_config(run.request)) == run.identity["config_sha256"]
    assert run.request.work_dir == str(run.work_dir) == "work_dirs/tiny-smoke-fold5-s0"


def test_the_command_of_a_run_is_one_that_can_be_typed(tiny_data, tiny_config):
    (run,) = planned(
        tiny_config,
        settings=["A"],
        splits=["fold1"],
        amp=False,
        data="synthetic",
        options={"train_cfg.max_iters": 7, "model.backbone.out": [1, 2]},
    )
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = shlex.split(as_typed(run.request.command))
    assert words[:2] == ["leuko", "train"]
    said = parser.parse_args(words[2:])
    assert (said.config, said.setting, said.split) == (str(tiny_config), "A", "fold1")
    assert (said.seed, said.amp, said.protocol) == (0, False, "smoke")
    assert said.cfg_options == {
        "train_cfg.max_iters": 7,
        "model.backbone.out": [1, 2],
    }


def test_other_data_than_the_protocols_has_names_of_its_own(
    tmp_path, monkeypatch, tiny_config
):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    make_data(tmp_path / "data")
    make_data(tmp_path / "data", "mine")
    (own,) = planned(tiny_config, data="synthetic")
    assert own.target == Path("results/smoke/tiny-fold5-s0.json")
    (other,) = planned(tiny_config, data="mine")
    assert other.target == Path("results/smoke-mine/tiny-fold5-s0.json")
    assert other.name == "tiny-smoke-fold5-s0-mine"


def test_two_runs_of_one_name_are_refused(tiny_data, tiny_config, tmp_path):
    other = write_config(tmp_path, name="other")
    with pytest.raises(UsageError, match="would both be"):
        planned(tiny_config, methods=[str(tiny_config), str(other)])


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (dict(methods=["nowhere"]), "no config 'nowhere'"),
        (dict(ablations=["nowhere"], methods=None), "no config 'ablation/nowhere'"),
        (dict(settings=["C"]), "no setting 'C'"),
        (dict(settings=[]), "nothing to compare"),
        (dict(seeds=[]), "nothing to compare"),
    ],
)
def test_what_is_not_there_is_named(tiny_data, tiny_config, wishes, message):
    with pytest.raises(UsageError, match=message):
        planned(tiny_config, **wishes)
