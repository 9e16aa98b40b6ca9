"""``leuko prepare folders`` shows what it found, and writes once that is agreed to."""

import shlex
import sys

import annotated_folders as drawn
import numpy as np
import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_about, read_index

PREPARE = ["prepare", "folders", "smears", "--name", "mine"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Make a folder of ten images with masks of {0, 1, 2}, and go there."""
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    labels = {
        f"p{n % 5}_{n}": np.pad(np.full((6, 6), 1 + n // 5, np.uint8), 5)
        for n in range(10)
    }
    drawn.write_images(tmp_path / "smears/images", labels, np.random.default_rng(0))
    drawn.as_values(tmp_path / "smears/masks", labels, {v: v for v in (0, 1, 2)})
    return tmp_path


def refused(capsys, *arguments) -> tuple[str, str]:
    assert main([*PREPARE, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("leuko prepare: ")
    assert len(err.splitlines()) <= 6
    return out, err


def test_a_guess_is_shown_and_writes_nothing_until_it_is_agreed_to(folder, capsys):
    out, err = refused(capsys)
    assert "10 images with masks of values" in out
    table = [line.split() for line in out.splitlines()]
    assert ["1", "180", "7.03%", "5", "basophil"] in table
    assert "groups: 5 of 10 images" in out
    assert not (folder / "data").exists()
    # The command that is printed can be typed.
    command = shlex.split(err.splitlines()[-1])
    assert command[:2] == ["leuko", "prepare"]
    assert main(command[1:]) == 0
    assert read_about(folder / "data/mine")["counts"] == {
        "basophil": 5,
        "eosinophil": 5,
    }


def test_yes_accepts_the_guess_and_a_second_time_changes_nothing(folder, capsys):
    assert main([*PREPARE, "--yes"]) == 0
    said = capsys.readouterr().out
    assert "prepared: 5 basophils, 5 eosinophils; 5 groups" in said
    assert "splits: development, fold1, fold2, fold3, fold4, fold5" in said
    assert main([*PREPARE, "--yes"]) == 0
    assert "nothing changed" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 2), ("n", 2)])
def test_at_a_terminal_it_asks(folder, capsys, monkeypatch, answer, code):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert main(PREPARE) == code
    assert (folder / "data/mine").exists() == (code == 0)


def test_a_value_without_a_guess_is_asked_for_even_with_yes(folder, capsys):
    for path in (folder / "smears/masks").iterdir():
        drawn.save(path, drawn.Image.open(path).point(lambda v: v * 7))
    _, err = refused(capsys, "--yes")
    assert "first '7' on 180 pixel(s) of smears/masks/p" in err
    assert "--map '0=background,7=?,14=?'" in err
    _, err = refused(capsys, "--map", "0=background,7=mono")
    assert "'14', which stands on 180 pixel(s) of smears/masks/p" in err
    assert main([*PREPARE, "--map", "0=bg,7=mono,14=ignore"]) == 0
    assert read_about(folder / "data/mine")["counts"] == {"monocyte": 5}
    assert len(read_index(folder / "data/mine")) == 10


def test_without_groups_it_warns_that_slides_may_leak(folder, capsys):
    for path in sorted((folder / "smears").rglob("*.png")):
        path.rename(path.with_name(path.name.replace("_", "")))
    assert main([*PREPARE, "--yes"]) == 0
    assert "train and test will share it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--name", "x"], "nowhere does not exist"),
        (["smears"], "--name smears"),
        (["smears", "nowhere", "--name", "x"], "nowhere does not exist"),
        (["smears", "--name", "a/b"], "'a/b'"),
        (["smears", "--name", "x", "--map", "0"], "value=class"),
        (["smears", "--name", "x", "--group-by", "q"], "finds no group"),
        (["smears", "--name", "x", "--crop", "99", "--yes"], "do not fit"),
    ],
)
def test_a_wrong_wish_is_one_message(folder, capsys, arguments, said):
    assert main(["prepare", "folders", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not list(folder.glob("data/*"))


def test_help_shows_the_options_of_folders_alone(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "folders", "--help"])
    said = capsys.readouterr().out
    assert "--group-by" in said
    assert "--slides" not in said


def test_another_licence_is_told_and_written_by_force(folder, capsys):
    assert main([*PREPARE, "--yes"]) == 0
    index = (folder / "data/mine/index.csv").stat().st_mtime_ns
    capsys.readouterr()
    licence = ["--licence", "CC0-1.0"]
    assert main([*PREPARE, "--yes", *licence]) == 0
    said = capsys.readouterr().out
    assert "licence stays 'not stated'; --force makes it 'CC0-1.0'" in said
    assert "citation" not in said
    assert read_about(folder / "data/mine")["licence"] == "not stated"
    assert main([*PREPARE, "--yes", *licence, "--force"]) == 0
    assert "prepared:" in capsys.readouterr().out
    assert read_about(folder / "data/mine")["licence"] == "CC0-1.0"
    assert (folder / "data/mine/index.csv").stat().st_mtime_ns == index
    # Said once, it is no news.
    assert main([*PREPARE, "--yes"]) == 0
    assert "stays" not in capsys.readouterr().out
