"""``leuko prepare`` makes a dataset, once, and says what is wrong with a wish."""

import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_about

SMALL = ["--slides", "2", "--cells", "1"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_preparing_twice_changes_nothing(tmp_path, capsys):
    assert main(["prepare", "synthetic", *SMALL]) == 0
    root = tmp_path / "data" / "synthetic"
    assert "prepared: 2 basophils" in capsys.readouterr().out
    before = (root / "index.csv").stat().st_mtime_ns
    assert main(["prepare", "synthetic", *SMALL]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert (root / "index.csv").stat().st_mtime_ns == before


def test_other_content_needs_force(tmp_path, capsys):
    out = tmp_path / "mine"
    assert main(["prepare", "synthetic", *SMALL, "--out", str(out)]) == 0
    other = ["prepare", "synthetic", *SMALL, "--seed", "1", "--out", str(out)]
    before = read_about(out)["sha256"]
    capsys.readouterr()
    assert main(other) == 2
    said = capsys.readouterr().err
    assert said.startswith("leuko prepare:")
    assert "--force" in said
    assert read_about(out)["sha256"] == before
    assert main([*other, "--force"]) == 0
    assert read_about(out)["sha256"] != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bcisc"], "leuko prepare bcisc PATH"),
        (["bcisc", "nowhere"], "nowhere"),
        (["synthetic", "somewhere"], "leave out the path"),
    ],
)
def test_a_wrong_wish_is_one_message(tmp_path, capsys, arguments, said):
    assert main(["prepare", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko prepare:")
    assert said in message
    assert len(message.splitlines()) <= 6
    assert not (tmp_path / "data" / arguments[0]).exists()


def test_a_folder_that_is_no_bcisc_is_refused(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    assert main(["prepare", "bcisc", "photos"]) == 2
    assert "photos" in capsys.readouterr().err
    assert not (tmp_path / "data" / "bcisc").exists()


@pytest.mark.parametrize(
    "wrong", [["--slides", "1"], ["--cells", "0"], ["--seed", "-1"], ["--cells", "x"]]
)
def test_numbers_that_make_no_dataset_are_refused(tmp_path, capsys, wrong):
    with pytest.raises(SystemExit) as end:
        main(["prepare", "synthetic", *wrong])
    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err
    assert not (tmp_path / "data" / "synthetic").exists()
