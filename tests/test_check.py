"""``leuko check``: its output and exit codes, and what it writes and replaces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.check import check, check_page
from leuko_mm.cli import check as cli_check
from leuko_mm.cli.main import main
from leuko_mm.datasets.audit import full_audit
from leuko_mm.datasets.prepared import read_index
from leuko_mm.errors import UsageError


@pytest.fixture
def smears(tiny_home, tmp_path) -> Path:
    """Return a synthetic dataset that a test may damage."""
    return Path(shutil.copytree(tiny_home / "synthetic", tmp_path / "smears"))


def a_mask(root: Path) -> Path:
    return sorted((root / "masks").iterdir())[0]


def test_a_sound_dataset_ends_with_0(smears, capsys):
    assert main(["check", str(smears)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{smears}: ")
    assert lines[-1].startswith("0 errors, ")
    (head,) = [line for line in lines if line.startswith("cells ")]
    assert head.split() == ["cells", "bas", "eos", "lym", "mon", "neu", "all"]
    (fold,) = [line for line in lines if line.startswith("fold1 ") and "test" in line]
    numbers = list(map(int, fold.split()[2:]))
    assert sum(numbers[:-1]) == numbers[-1] > 0


def test_errors_end_with_1_and_say_what_to_do(smears, capsys):
    shown = cli_check.SHOWN
    masks = sorted((smears / "masks").iterdir())[: shown + 2]
    for mask in masks:
        mask.write_bytes(b"")
    assert main(["check", str(smears)]) == 1
    out = capsys.readouterr().out
    assert f"error    files that cannot be read: {shown + 2}" in out
    assert f"masks/{masks[0].name}: empty, 0 bytes" in out
    assert "and 2 more" in out
    assert "-> put a sound copy in its place" in out
    assert f"{shown + 2} errors" in out


def test_a_loop_of_links_is_an_error_of_its_file(smears, capsys):
    image = min((smears / "images").iterdir())
    image.unlink()
    image.symlink_to(image.name)
    assert main(["check", str(smears)]) == 1
    assert f"images/{image.name}" in capsys.readouterr().out


def test_wrong_use_ends_with_2(smears, tmp_path, capsys):
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert main(["check", str(smears), "--split", "fold9"]) == 2
    assert "no split 'fold9'; it has: fold1" in capsys.readouterr().err


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


def test_page_and_data_are_written(smears, tmp_path, capsys):
    a_mask(smears).unlink()
    out = tmp_path / "new" / "out"
    assert main(["check", str(smears), "--out", str(out)]) == 1
    assert f"with pictures: {out / 'check.html'}" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["check.html", "check.json"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]
    content = json.loads((out / "check.json").read_text())
    assert content["dataset"] == str(smears)
    assert content["tally"]["error"] == 1
    (error,) = [f for f in content["findings"] if f["severity"] == "error"]
    assert error["file"] == f"masks/{error['stems'][0]}.png"
    assert error["words"] == "is missing"
    assert error["cure"]
    rows = (smears / "index.csv").read_text().splitlines()[1:]
    assert content["cells"] == len(rows)
    assert content["groups"] == len({row.group for row in read_index(smears)}) > 0
    assert "is missing" in (out / "check.html").read_text()


def test_an_earlier_check_is_replaced_only_with_force(smears, tmp_path):
    check(str(smears), out=tmp_path / "out")
    first = (tmp_path / "out" / "check.html").read_bytes()
    with pytest.raises(UsageError, match="holds a check; add --force"):
        check(str(smears), out=tmp_path / "out")
    check(str(smears), out=tmp_path / "out", force=True)
    assert (tmp_path / "out" / "check.html").read_bytes() == first


@pytest.mark.parametrize("force", [False, True])
def test_other_files_are_never_replaced(smears, tmp_path, force):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for place in (out, out / "notes.txt"):
        with pytest.raises(UsageError, match="something else"):
            check(str(smears), out=place, force=force)
    assert [p.name for p in out.iterdir()] == ["notes.txt"]


def test_nothing_is_left_where_writing_fails(smears, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr("leuko_mm.check.render_check_report", no_space)
    with pytest.raises(UsageError, match="no space left"):
        check(str(smears), out=tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("size", [(5, 5), (200, 40)])
def test_a_mask_of_another_size_is_not_drawn(smears, size):
    Image.new("L", size, 1).save(a_mask(smears))
    shown = [f for s in check_page(full_audit(smears)).sections for f in s.shown]
    pictures = next(p for file, _, p in shown if file == f"masks/{a_mask(smears).name}")
    assert pictures
    assert all(picture.labels is None for picture in pictures)
