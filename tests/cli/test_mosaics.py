"""``leuko mosaics`` writes a folder and says what it holds."""

from __future__ import annotations

import pytest

from leuko_mm.cli.main import main


def test_mosaics_are_written_once(tiny_data, tmp_path, capsys):
    out = tmp_path / "mosaics"
    command = ["mosaics", "synthetic", "--split", "fold1", "--part", "test"]
    command += ["--n", "2", "--size", "64", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "written: 2 mosaics of 5 cells in 5 tiles, 3 tile(s) left empty" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "images",
        "index.csv",
        "masks",
        "mosaics.json",
    ]
    assert main(command) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert main([*command, "--mosaics", "1"]) == 2
    assert capsys.readouterr().err.startswith("leuko mosaics: ")
    more = ["--mosaics", "1", "--class-balanced", "--layout", "scattered", "--force"]
    assert main([*command, *more]) == 0
    assert "1 mosaics of 4 cells in 4 tiles;" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--n", "0"], "--n"),
        (["--part", "val"], "--part"),
        (["--layout", "hexagons"], "--layout"),
        ([], "--out"),
    ],
)
def test_a_wrong_wish_is_refused(wrong, said, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x")] if wrong else []
    with pytest.raises(SystemExit) as end:
        main(["mosaics", "synthetic", *wrong, *out])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_a_dataset_that_is_not_there_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    assert main(["mosaics", "nowhere", "--out", str(tmp_path / "x")]) == 2
    assert "leuko prepare" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
