"""``leuko prepare`` makes a dataset, once, and says what is wrong with a wish."""

import importlib
import json
import re

import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
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
    assert re.search(r"(?m)^leuko prepare: .*\n?.*--force", capsys.readouterr().err)
    assert read_about(out)["sha256"] == before
    assert main([*other, "--force"]) == 0
    assert read_about(out)["sha256"] != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bcisc"], "leuko prepare bcisc PATH"),
        (["bcisc", "nowhere"], "nowhere does not exist (looked in"),
        (["segmentation_wbc", "nowhere"], "nowhere does not exist"),
        (["lisc", "nowhere"], "nowhere does not exist"),
        (["folders", "nowhere", "--name", "x"], "nowhere does not exist"),
        (["bcisc", "/nowhere"], "/nowhere does not exist; give the folder that holds"),
        (["synthetic", "somewhere"], "leave out the path"),
    ],
)
def test_a_wrong_wish_is_one_message(tmp_path, capsys, arguments, said):
    assert main(["prepare", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko prepare:")
    assert said in message
    assert len(message.splitlines()) <= 6
    assert not (tmp_path / "data").exists()


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


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["segmentation_wbc"], "segmentation_wbc"),
        (["segmentation_wbc", "--set", "2"], "segmentation_wbc_2"),
        (["lisc", "--expert", "2"], "lisc"),
    ],
)
def test_published_sources_take_their_own_arguments(
    tmp_path, capsys, monkeypatch, arguments, out
):
    asked = []

    def prepare(source, place, **options):
        asked.append((str(source), str(place), options))
        return prepare_synthetic(place, slides=2, cells_per_class=1, size=32)

    module = importlib.import_module(f"leuko_mm.cli.prepare_{arguments[0]}")
    monkeypatch.setattr(module, f"prepare_{arguments[0]}", prepare)
    (tmp_path / "raw").mkdir()
    assert main(["prepare", arguments[0], "raw", *arguments[1:]]) == 0
    wish = {"chosen": "both"} if out == "segmentation_wbc" else {"chosen": "2"}
    options = {"expert": 2} if out == "lisc" else wish
    place = str(tmp_path / "data" / out)
    assert asked == [("raw", place, {**options, "force": False})]
    assert f"{place} prepared: 2 basophils" in capsys.readouterr().out


def test_what_a_user_must_know_is_printed(tmp_path, capsys):
    out = tmp_path / "noted"
    assert main(["prepare", "synthetic", *SMALL, "--out", str(out)]) == 0
    about = json.loads((out / "dataset.json").read_text())
    about["notes"] = ["the labels are drawn by hand"]
    (out / "dataset.json").write_text(json.dumps(about))
    capsys.readouterr()
    assert main(["prepare", "synthetic", *SMALL, "--out", str(out)]) == 0
    assert "note: the labels are drawn by hand" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["segmentation_wbc", "lisc"])
def test_a_published_source_that_is_not_there_is_one_message(capsys, source):
    assert main(["prepare", source, "nowhere"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko prepare:")
    assert "nowhere" in message
