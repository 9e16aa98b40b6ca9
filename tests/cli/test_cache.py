"""``leuko cache``: what it shows, what it removes, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.preprocessing_cache import PreprocessingCache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of a cache that holds two cells."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LEUKO_MM_CACHE", f"{folder},8M")
    cache = PreprocessingCache(folder)
    for key in ("a" * 40, "b" * 40):
        cache.write(key, np.zeros((512, 256, 3), np.uint8), np.zeros(2**17, np.uint8))
    return folder


def test_it_shows_folder_size_and_entries(folder, capsys):
    assert main(["cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["folder", str(folder)],
        ["entries", "2 cells"],
        ["size", "1.0 MiB of at most 8.0 MiB"],
    ]


def test_it_is_emptied_and_stays(folder, capsys):
    (folder / "notes.txt").touch()
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"{folder}: 2 cells removed, 1.0 MiB freed\n"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert main(["cache", "show"]) == 0
    assert "0 cells" in capsys.readouterr().out


def test_a_cache_that_is_not_there_yet_is_not_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_CACHE", str(tmp_path / "absent"))
    assert main(["cache"]) == 0
    assert "0 cells" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_off_is_said(monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_CACHE", "off")
    for words in (["cache"], ["cache", "clear"]):
        assert main(words) == 0
        assert "off" in capsys.readouterr().out


def test_a_file_in_its_place_is_the_users_to_mend(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEUKO_MM_CACHE", str(tmp_path / "file"))
    assert main(["cache", "clear"]) == 2
    assert "LEUKO_MM_CACHE" in capsys.readouterr().err
    assert (tmp_path / "file").exists()
