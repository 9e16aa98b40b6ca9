"""All processes of a training go on from one state, or none trains."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.workflows import going_on
from leuko_mm.workflows.going_on import check_same_start, go_on_from


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
