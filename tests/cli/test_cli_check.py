"""``leuko check`` on the command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.cli.check import SHOWN
from leuko_mm.cli.main import main


@pytest.fixture
def smears(tiny_home, tmp_path) -> Path:
    """Return a synthetic dataset that a test may damage."""
    return Path(shutil.copytree(tiny_home / "synthetic", tmp_path / "smears"))


def test_a_sound_dataset_ends_with_0(smears, capsys):
    assert main(["check", str(smears)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{smears}: ")
    assert lines[-1].startswith("0 errors, ")
    (head,) = [line for line in lines if line.startswith("cells ")]
    assert head.split() == ["cells", "baso", "eosi", "lymp", "mono", "neut", "all"]
    (fold,) = [line for line in lines if line.startswith("fold1 ") and "test" in line]
    numbers = list(map(int, fold.split()[2:]))
    assert sum(numbers[:-1]) == numbers[-1] > 0


def test_an_error_ends_with_1_and_says_what_to_do(smears, capsys):
    masks = sorted((smears / "masks").iterdir())[: SHOWN + 2]
    for mask in masks:
        mask.write_bytes(b"")
    assert main(["check", str(smears)]) == 1
    out = capsys.readouterr().out
    assert f"error    files that cannot be read: {SHOWN + 2}" in out
    assert f"masks/{masks[0].name}: empty, 0 bytes" in out
    assert "and 2 more" in out
    assert "-> put a sound copy in its place" in out
    assert f"{SHOWN + 2} errors" in out


def test_warnings_alone_end_with_0(smears, capsys):
    (smears / "images" / "mine.jpg").touch()
    assert main(["check", str(smears)]) == 0
    assert "warning  files that the index does not name: 1" in capsys.readouterr().out


def test_page_and_data_are_written_where_asked(smears, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "found.json"
    words = ["check", str(smears), "--out", str(out), "--json", str(file)]
    assert main(words) == 0
    assert f"with pictures: {out / 'check.html'}" in capsys.readouterr().out
    assert json.loads(file.read_text())["dataset"] == str(smears)
    assert main(words) == 2
    assert "add --force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_one_split_alone(smears, capsys):
    row = (smears / "splits" / "fold1.csv").read_text().splitlines()[1]
    other = sorted((smears / "images").iterdir())
    (smears / "splits" / "few.csv").write_text(f"stem,part\n{row}\n")
    outside = next(p for p in other if p.stem != row.split(",")[0])
    outside.write_bytes(b"")
    assert main(["check", str(smears), "--split", "few"]) == 1
    out = capsys.readouterr().out
    assert "leaves train or test empty" in out
    assert outside.name not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["./nowhere"], "leuko prepare"),
        (["{smears}", "--split", "fold9"], "no split 'fold9'; it has: fold1"),
    ],
)
def test_wrong_use_ends_with_2(smears, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["check", *(word.format(smears=smears) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_a_planted_leak_is_named(smears, capsys):
    index = (smears / "index.csv").read_text().splitlines()[1:]
    parts = dict(
        line.split(",")
        for line in (smears / "splits" / "fold1.csv").read_text().splitlines()[1:]
    )
    stems = [line.split(",")[0] for line in index]
    learnt = next(stem for stem in stems if parts[stem] == "train")
    tested = next(stem for stem in stems if parts[stem] == "test")
    with Image.open(smears / f"images/{learnt}.png") as image:
        turned = image.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    noisy = np.array(turned, int) + np.random.default_rng(0).integers(-3, 4, (1, 1, 3))
    copy = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    copy.save(smears / f"images/{tested}.png")
    assert main(["check", str(smears), "--split", "fold1"]) == 1
    out = capsys.readouterr().out
    assert "error    the same on both sides of a split: 1" in out
    assert f"{learnt} (train)" in out
    assert f"{tested} (test)" in out
