"""``leuko prepare`` makes a dataset, once, and says what is wrong with a request."""

import json
import re
import shlex
import shutil
import sys

import annotated_folders as drawn
import numpy as np
import pytest

from leuko_mm.cli import prepare
from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.prepared import read_about, read_index

SMALL = ["prepare", "synthetic", "--slides", "2", "--cells", "1"]
FOLDERS = ["prepare", "folders", "smears", "--name", "mine"]


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_preparing_twice_changes_nothing_and_notes_are_printed(tmp_path, capsys):
    assert main(SMALL) == 0
    root = tmp_path / "data" / "synthetic"
    assert "prepared: 2 basophils" in capsys.readouterr().out
    before = (root / "index.csv").stat().st_mtime_ns
    about = json.loads((root / "dataset.json").read_text())
    about["notes"] = ["the labels are drawn by hand"]
    (root / "dataset.json").write_text(json.dumps(about))
    assert main(SMALL) == 0
    said = capsys.readouterr().out
    assert "nothing changed" in said
    assert "note: the labels are drawn by hand" in said
    assert (root / "index.csv").stat().st_mtime_ns == before


def test_other_content_needs_force(tmp_path, capsys):
    out = tmp_path / "mine"
    assert main([*SMALL, "--out", str(out)]) == 0
    other = [*SMALL, "--seed", "1", "--out", str(out)]
    before = read_about(out)["sha256"]
    capsys.readouterr()
    assert main(other) == 2
    assert re.search(r"(?m)^leuko prepare: .*\n?.*--force", capsys.readouterr().err)
    assert read_about(out)["sha256"] == before
    shutil.copy(out / "splits" / "fold1.csv", out / "splits" / "own.csv")
    capsys.readouterr()
    assert main([*other, "--force"]) == 0
    assert (
        "dropped with the former content: the splits own\n" in capsys.readouterr().out
    )
    assert read_about(out)["sha256"] != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bcisc"], "leuko prepare bcisc PATH"),
        (["bcisc", "nowhere"], "nowhere does not exist (looked in"),
        (["bcisc", "/nowhere"], "/nowhere does not exist; give the folder that holds"),
        (["synthetic", "somewhere"], "leave out the path"),
        (["bcisc", "photos"], "photos"),
    ],
)
def test_a_wrong_request_is_one_message(tmp_path, capsys, arguments, said):
    (tmp_path / "photos").mkdir()
    assert main(["prepare", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("leuko prepare:")
    assert said in message
    assert len(message.splitlines()) <= 6
    assert not list(tmp_path.glob("data/*"))


@pytest.mark.parametrize(
    ("arguments", "name", "options"),
    [
        (["segmentation_wbc"], "segmentation_wbc", {"chosen": "both"}),
        (["segmentation_wbc", "--set", "2"], "segmentation_wbc_2", {"chosen": "2"}),
        (["lisc", "--expert", "2"], "lisc", {"expert": 2}),
    ],
)
def test_published_sources_take_their_own_arguments(
    tmp_path, capsys, monkeypatch, arguments, name, options
):
    asked = []

    def converter(source, place, **given):
        asked.append((str(source), given))
        return prepare_synthetic(place, slides=2, cells_per_class=1, size=32)

    monkeypatch.setattr(prepare, f"prepare_{arguments[0]}", converter)
    (tmp_path / "raw").mkdir()
    assert main(["prepare", arguments[0], "raw", *arguments[1:]]) == 0
    assert asked == [("raw", {**options, "force": False})]
    place = tmp_path / "data" / name
    assert f"{place} prepared: 2 basophils" in capsys.readouterr().out


@pytest.fixture
def smears(tmp_path):
    """Make a folder of ten images with masks of {0, 1, 2}."""
    labels = {
        f"p{n % 5}_{n}": np.pad(np.full((6, 6), 1 + n // 5, np.uint8), 5)
        for n in range(10)
    }
    drawn.write_images(tmp_path / "smears/images", labels, np.random.default_rng(0))
    drawn.as_values(tmp_path / "smears/masks", labels, {v: v for v in (0, 1, 2)})
    return tmp_path


def refused(capsys, *arguments) -> tuple[str, str]:
    assert main([*FOLDERS, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("leuko prepare: ")
    assert len(err.splitlines()) <= 6
    return out, err


def test_a_guess_is_shown_and_writes_nothing_until_it_is_agreed_to(smears, capsys):
    out, err = refused(capsys)
    assert "10 images with masks of values" in out
    table = [line.split() for line in out.splitlines()]
    assert ["1", "180", "7.03%", "5", "basophil"] in table
    assert "groups: 5 of 10 images" in out
    assert not (smears / "data").exists()
    # The command that is printed can be typed.
    command = shlex.split(err.splitlines()[-1])
    assert command[:2] == ["leuko", "prepare"]
    assert main(command[1:]) == 0
    counts = read_about(smears / "data/mine")["counts"]
    assert counts == {"basophil": 5, "eosinophil": 5}


def test_yes_accepts_the_guess_and_a_second_time_changes_nothing(smears, capsys):
    assert main([*FOLDERS, "--yes"]) == 0
    said = capsys.readouterr().out
    assert "prepared: 5 basophils, 5 eosinophils; 5 groups" in said
    assert "splits: development, fold1, fold2, fold3, fold4, fold5" in said
    assert main([*FOLDERS, "--yes"]) == 0
    assert "nothing changed" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 2), ("n", 2)])
def test_at_a_terminal_it_asks(smears, monkeypatch, answer, code):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert main(FOLDERS) == code
    assert (smears / "data/mine").exists() == (code == 0)


def test_a_value_without_a_guess_is_asked_for_even_with_yes(smears, capsys):
    for path in (smears / "smears/masks").iterdir():
        drawn.save(path, drawn.Image.open(path).point(lambda v: v * 7))
    _, err = refused(capsys, "--yes")
    assert "first '7' on 180 pixel(s) of smears/masks/p" in err
    assert "--map '0=background,7=?,14=?'" in err
    _, err = refused(capsys, "--map", "0=background,7=mono")
    assert "'14', which is on 180 pixel(s) of smears/masks/p" in err
    assert main([*FOLDERS, "--map", "0=bg,7=mono,14=ignore"]) == 0
    assert read_about(smears / "data/mine")["counts"] == {"monocyte": 5}
    assert len(read_index(smears / "data/mine")) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smears"], "--name smears"),
        (["smears", "nowhere", "--name", "x"], "nowhere does not exist"),
        (["smears", "--name", "a/b"], "'a/b'"),
        (["smears", "--name", "x", "--map", "0"], "value=class"),
        (["smears", "--name", "x", "--group-by", "q"], "finds no group"),
        (["smears", "--name", "x", "--crop", "99", "--yes"], "do not fit"),
    ],
)
def test_a_wrong_request_for_folders_writes_nothing(smears, capsys, arguments, said):
    assert main(["prepare", "folders", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(smears.glob("data/*"))
