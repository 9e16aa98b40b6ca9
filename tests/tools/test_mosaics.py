"""Mosaics as files: an index that says where each cell is, and refusals."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tool_module import load_tool

from leuko_mm.classes import class_id
from leuko_mm.datasets.prepared import read_index, read_split
from leuko_mm.datasets.prepared_writing import write_split
from leuko_mm.datasets.splits import random_mosaics


@pytest.fixture
def tool():
    return load_tool("mosaics")


@pytest.fixture
def write(tool, tiny_dataset, tmp_path):
    """Write small mosaics of the 20 test cells of the tiny dataset."""

    def run(*words, name=tiny_dataset, split="fold1", part="test", out="out"):
        places = [name, "--split", split, "--part", part, "--out", tmp_path / out]
        return tool.main([str(w) for w in (*places, "--size", 48, *words)])

    return run


def index_of(folder) -> list[dict]:
    with open(folder / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_test_cell_is_once_where_the_index_says(
    write, tiny_dataset, tmp_path, capsys
):
    assert write("--n", 3) == 0
    assert "3 mosaics of 20 cells" in capsys.readouterr().out
    rows, parts = index_of(tmp_path / "out"), read_split(tiny_dataset, "fold1")
    cells = {row.stem: row for row in read_index(tiny_dataset)}
    shown = [row["stem"] for row in rows if row["stem"]]
    assert sorted(shown) == sorted(s for s, part in parts.items() if part == "test")
    assert len(rows) == 27
    for row in rows:
        box = tuple(int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        with Image.open(tmp_path / "out" / row["mask"]) as mask:
            assert (mask.mode, mask.size) == ("P", (48, 48))
            ids = np.unique(np.array(mask.crop(box))).tolist()
        with Image.open(tmp_path / "out" / row["image"]) as image:
            red = np.array(image.crop(box))[..., 0]
        if row["stem"]:
            cell = cells[row["stem"]]
            assert (row["class"], row["group"]) == (cell.class_name, cell.group)
            assert ids == [0, class_id(cell.class_name)]
            with Image.open(tiny_dataset / cell.image) as image:
                assert np.unique(red) == np.unique(np.array(image)[..., 0])
        else:
            assert ids == [0]
            assert (red == 230).all()
    about = json.loads((tmp_path / "out" / "mosaics.json").read_text())
    assert (about["licence"], about["mosaics"]) == ("CC0-1.0", 3)


def test_mosaics_of_the_split_of_mosaics_are_those_of_the_split(
    tool, write, tiny_dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(tool, "PAPER_MOSAICS", 10)
    root = shutil.copytree(tiny_dataset, tmp_path / "tiny")
    stems = [row.stem for row in read_index(root)]
    parts = random_mosaics(stems, mosaics=10)
    write_split(root, "paper_mosaics", parts, known=set(stems))
    for part in ("train", "test"):
        paper = dict(name=root, split="paper_mosaics", part=part, out=part)
        assert write("--seed", 8, **paper) == 0
        shown = {row["stem"] for row in index_of(tmp_path / part)}
        assert shown == {stem for stem, of in parts.items() if of == part}
    assert write("--mosaics", 3, name=root, split="paper_mosaics") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n", 5, "--mosaics", 2], "25 tiles needs as many cells, got 20"),
        (["--class-balanced"], "class_balanced chooses among cells"),
        (["--split", "fold9"], "no split 'fold9'"),
    ],
)
def test_what_cannot_be_composed_is_refused(write, tmp_path, capsys, words, said):
    assert write(*words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(write, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert write() == 2
    assert "choose another --out" in capsys.readouterr().err
