"""The verb prints what there is, and ends with the code that it should."""

import json

import pytest
from tiny_checkpoint import METRICS, rewrite, write_tiny

from leuko_mm.cli import zoo as verb
from leuko_mm.cli.main import main


def test_the_list_names_every_model(capsys):
    assert main(["zoo", "list"]) == 0
    shown = capsys.readouterr().out
    assert "cbam_unet_compact" in shown
    assert "to train" in shown or "in the package" in shown
    assert main(["zoo", "list", "--json"]) == 0
    assert {e["name"] for e in json.loads(capsys.readouterr().out)} >= {"segnet"}


def test_fetching_what_is_not_published_ends_with_3(capsys):
    assert main(["zoo", "fetch", "segnet"]) == 3
    assert "leuko train segnet --protocol half --split fold5" in capsys.readouterr().err


@pytest.fixture
def path(tmp_path, tiny_config):
    write_tiny(tmp_path / "a.pth", tiny_config)
    return tmp_path / "a.pth"


def test_verifying_a_file(path, capsys):
    assert main(["zoo", "verify", str(path)]) == 0
    assert "fit" in capsys.readouterr().out
    rewrite(path, classes=["a"])
    assert main(["zoo", "verify", str(path)]) == 2
    assert "does not fit its 1 classes" in capsys.readouterr().err


@pytest.mark.parametrize(("found", "code"), [(50.1, 0), (70.0, 1)])
def test_metrics_that_differ_end_with_1(path, capsys, monkeypatch, found, code):
    results = dict(metrics=dict(METRICS, mIoU=found))
    monkeypatch.setattr(verb, "measure", lambda *_, **__: results)
    assert main(["zoo", "verify", str(path), "--accuracy"]) == code
    assert ("differs" in capsys.readouterr().out) == bool(code)
