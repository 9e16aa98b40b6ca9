"""`leuko bench`, as it is typed."""

from __future__ import annotations

import json

import pytest

from leuko_mm.cli import bench as verb
from leuko_mm.cli.main import main
from leuko_mm.errors import UsageError


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Keep the requests; nothing is measured."""
    monkeypatch.chdir(tmp_path)
    requests = []

    def pretend(request, say):
        say("measuring")
        requests.append(request)
        return dict(
            env=dict(cpu="a processor", gpu=None, torch="2"),
            load=dict(before=0.1, after=0.1),
            threads=2,
            clock=request.clock,
            rounds=request.rounds,
            batch={},
            size={},
            targets=[],
            rows=[],
        )

    monkeypatch.setattr(verb, "bench", pretend)
    return requests


def test_both_jobs_are_done_and_progress_is_apart_from_the_tables(asked, capsys):
    assert main(["bench"]) == 0
    assert asked[0] == verb.USUAL
    out, err = capsys.readouterr()
    assert "a processor" in out
    assert "measuring" in err
    assert "measuring" not in out


def test_what_is_typed_is_asked_for(asked):
    sizes = ["--batch", "2", "--train-size", "64"]
    words = ["train", "--methods", "unet,segnet", "--rounds", "3", *sizes]
    assert main(["bench", *words, "--peer-python", "py", "--threads", "1"]) == 0
    (request,) = asked
    assert (request.jobs, request.methods) == (("train",), ("unet", "segnet"))
    assert (request.rounds, request.batch, request.threads) == (3, 2, 1)
    assert dict(request.sizes) == dict(train=64, predict=512)
    assert (request.peer_python, request.clock) == ("py", "wall")


def test_the_clock_is_told(asked, capsys):
    assert main(["bench", "--clock", "processor"]) == 0
    assert asked[0].clock == "processor"
    assert "processor time" in capsys.readouterr().out


def test_figures_are_written_with_the_command_and_not_replaced(asked, tmp_path, capsys):
    words = ["bench", "predict", "--json", "out.json"]
    assert main(words) == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["command"] == "leuko bench predict --json out.json"
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert len(asked) == 1
    assert main([*words, "--force"]) == 0


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(asked, capsys):
    assert main(["bench", "--json", "no/such/out.json"]) == 2
    assert "no/such is no folder" in capsys.readouterr().err
    assert not asked


def test_wrong_use_is_one_message(asked, monkeypatch, capsys):
    def refuse(request, say):
        raise UsageError("expected 1 or more")

    monkeypatch.setattr(verb, "bench", refuse)
    assert main(["bench"]) == 2
    assert capsys.readouterr().err == "leuko bench: expected 1 or more\n"
