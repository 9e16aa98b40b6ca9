"""``leuko browse``: arguments in, pages out, faults named."""

from __future__ import annotations

import pytest

from leuko_mm.cli.main import main


@pytest.fixture
def out(tmp_path):
    return tmp_path / "sheets"


def test_it_says_where_everything_is(tiny_dataset, out, capsys):
    words = ["browse", str(tiny_dataset), "--out", str(out), "--count", "2"]
    assert main(words) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["page:", str(out / "browse.html")],
        ["sheet:", str(out / "cells.png")],
        ["sheet:", str(out / "masks.png")],
    ]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_the_folder_has_the_name_of_what_it_shows(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["browse", str(tiny_dataset), "--split", "fold1", "--part", "test"]
    assert main([*words, "--what", "masks"]) == 0
    folder = tmp_path / "work_dirs" / "browse-tiny-fold1-test"
    assert {path.name for path in folder.iterdir()} == {"browse.html", "masks.png"}


def test_options_reach_the_config(tiny_data, tiny_config, out, capsys):
    words = ["browse", str(tiny_config), "--out", str(out), "--what", "batches"]
    option = "train_dataloader.batch_size=3"
    assert main([*words, "--count", "1", "--cfg-options", option]) == 0
    assert (out / "browse.html").read_text().count("<figure>") == 3
    misspelt = "train_dataloader.dataset.mosaicz=3"
    assert main([*words, "--force", "--cfg-options", misspelt]) == 2
    assert "mosaicz" in capsys.readouterr().err
    assert (out / "browse.html").read_text().count("<figure>") == 3


def test_what_is_not_there_is_named(tiny_data, out, capsys):
    assert main(["browse", "nowhere", "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko browse: no config 'nowhere'")
    assert "synthetic" in message
    assert not out.exists()
