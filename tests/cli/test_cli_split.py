"""``leuko split`` prints who stands where, and fails where a promise is broken."""

from __future__ import annotations

import shutil

import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_index


@pytest.fixture
def smears(tiny_home, tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    return shutil.copytree(tiny_home / "synthetic", tmp_path / "smears")


def test_the_counts_of_every_part_are_printed(smears, capsys):
    assert main(["split", "smears", "--folds", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "grouped_fold1: written"
    header, train, test = (line.split() for line in lines[1:4])
    assert header[:4] == ["part", "cells", "groups", "basophil"]
    assert train == ["train", "20", "4", *["4"] * 5]
    assert test == ["test", "5", "1", *["1"] * 5]
    assert len({len(line) for line in lines[1:4]}) == 1


def test_a_class_that_a_part_lacks_is_named(smears, capsys):
    rows = read_index(smears)
    basophils = [row.stem for row in rows if row.class_name == "basophil"]
    parts = [f"{r.stem},{'test' if r.stem in basophils else 'train'}" for r in rows]
    (smears / "splits" / "paper.csv").write_text("\n".join(["stem,part", *parts]))
    assert main(["split", "smears", "--show"]) == 0
    said = capsys.readouterr().out
    assert "train has no basophil\n" in said
    assert "test has no eosinophil, no lymphocyte" in said
    assert "5 group(s) in both parts, by design" in said
    assert "fold1, an official split: there" in said


def test_a_leak_is_listed_with_the_command_that_mends_it(smears, capsys):
    first, second = (
        next(row for row in read_index(smears) if row.group == group)
        for group in ("slide_1", "slide_2")
    )
    shutil.copy(smears / first.image, smears / second.image)
    assert main(["split", "smears"]) == 1
    said = capsys.readouterr().out
    assert f"LEAK: 1 cell(s) in both parts: {first.stem} = {second.stem} (0 of" in said
    assert "leuko split smears --join" in said
    assert not list((smears / "splits").glob("grouped*"))
    assert main(["split", "smears", "--folds", "4", "--join"]) == 0


def test_a_leak_that_is_there_is_shown(smears, capsys):
    path = smears / "splits" / "mine.csv"
    stems = [row.stem for row in read_index(smears)]
    rows = [f"{stem},{('train', 'test')[i % 2]}" for i, stem in enumerate(stems)]
    path.write_text("\n".join(["stem,part", *rows]))
    assert main(["split", "smears", "--show"]) == 1
    assert "LEAK: 5 group(s) in both parts: slide_1" in capsys.readouterr().out


def test_an_official_split_is_kept(smears, capsys):
    command = ["split", "smears", "--folds", "4", "--prefix", ""]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko split: ")
    assert "fold1" in message
    assert "--force" in message
    assert main([*command, "--force"]) == 0
    assert "measured on other cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--folds", "1"],
        ["--holdout", "1"],
        ["--holdout", "x"],
        ["--prefix", "../up"],
        ["--folds", "3", "--holdout", "0.2"],
        ["--repeats", "0"],
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        main(["split", "nowhere", *wrong])
    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_a_dataset_that_is_not_there_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    assert main(["split", "nowhere"]) == 2
    assert "leuko prepare" in capsys.readouterr().err
