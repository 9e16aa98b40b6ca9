"""Written mosaics: the same bytes each time, and an index that tells the truth."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import class_id
from leuko_mm.datasets.prepared import DatasetError, read_index, read_split
from leuko_mm.datasets.prepared_writing import write_split
from leuko_mm.datasets.splits import random_mosaics
from leuko_mm.errors import UsageError
from leuko_mm.workflows import mosaics as workflow
from leuko_mm.workflows.mosaics import MosaicsRequest, write_mosaics


@pytest.fixture
def write(tiny_dataset, tmp_path):
    """Write small mosaics of the 20 test cells of the tiny dataset."""

    def run(**options):
        defaults = dict(name=str(tiny_dataset), out=tmp_path / "out", split="fold1")
        return write_mosaics(
            MosaicsRequest(**{**defaults, "part": "test", "size": 48, **options})
        )

    return run


def index_of(folder) -> list[dict]:
    with open(folder / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def content(folder) -> dict:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_test_cell_is_written_once_where_the_index_says(
    write, tiny_dataset, tmp_path
):
    outcome = write(n=3)
    assert (outcome.mosaics, outcome.cells, outcome.tiles, outcome.spare) == (
        3,
        20,
        27,
        7,
    )
    assert outcome.written
    rows, parts = index_of(tmp_path / "out"), read_split(tiny_dataset, "fold1")
    cells = {row.stem: row for row in read_index(tiny_dataset)}
    shown = [row["stem"] for row in rows if row["stem"]]
    assert sorted(shown) == sorted(s for s, part in parts.items() if part == "test")
    for row in rows:
        box = tuple(int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        with Image.open(tmp_path / "out" / row["mask"]) as mask:
            assert mask.mode == "P"
            assert mask.size == (48, 48)
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


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(mosaics=4, class_balanced=True, layout="scattered", seed=3),
        dict(mosaics=2, enhance="hsv", part="train"),
    ],
)
def test_the_same_request_writes_the_same_bytes(write, tmp_path, options):
    write(**options)
    write(**options, out=tmp_path / "again")
    assert content(tmp_path / "out") == content(tmp_path / "again")
    assert len(content(tmp_path / "out")) > 4
    before = (tmp_path / "out" / "index.csv").stat().st_mtime_ns
    assert not write(**options).written
    assert (tmp_path / "out" / "index.csv").stat().st_mtime_ns == before


def test_other_mosaics_need_force(write, tmp_path):
    write(mosaics=2)
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match="holds other mosaics; add --force"):
        write(mosaics=3)
    assert content(tmp_path / "out") == before
    assert write(mosaics=3, force=True).mosaics == 3
    assert json.loads((tmp_path / "out" / "mosaics.json").read_text())["mosaics"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("force", [True, False])
def test_what_is_no_folder_of_mosaics_is_never_replaced(
    write, tiny_dataset, tmp_path, force
):
    prepared = shutil.copytree(tiny_dataset, tmp_path / "tiny")
    (tmp_path / "file").write_text("mine")
    before = content(tmp_path)
    for out in (prepared, tmp_path / "file"):
        with pytest.raises(UsageError, match="holds no mosaics"):
            write(out=out, force=force)
    assert content(tmp_path) == before


def test_a_failure_half_way_leaves_what_stood_there(write, tmp_path, monkeypatch):
    write(mosaics=2)
    before = content(tmp_path)

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(workflow, "save_mask", full)
    with pytest.raises(DatasetError, match=r"was not written \(no space left"):
        write(mosaics=3, force=True)
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_description_names_licence_and_source(write, tmp_path):
    write(mosaics=2, seed=5)
    about = json.loads((tmp_path / "out" / "mosaics.json").read_text())
    assert about["licence"] == "CC0-1.0"
    assert (about["split"], about["part"], about["seed"]) == ("fold1", "test", 5)


def test_the_papers_mosaics_are_those_of_their_split(
    write, tiny_dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(workflow, "PAPER_MOSAICS", 10)
    root = shutil.copytree(tiny_dataset, tmp_path / "tiny")
    stems = [row.stem for row in read_index(root)]
    parts = random_mosaics(stems, mosaics=10)
    write_split(root, "paper_mosaics", parts, known=set(stems))
    for part, count in (("train", 9), ("test", 1)):
        out = tmp_path / part
        paper = dict(name=str(root), split="paper_mosaics", part=part, out=out)
        assert write(**paper, seed=8).mosaics == count
        shown = {row["stem"] for row in index_of(out)}
        assert shown == {stem for stem, of in parts.items() if of == part}
    with pytest.raises(UsageError, match="divides 10 mosaics of 2x2; got 3 of 2x2"):
        write(**{**paper, "mosaics": 3})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (dict(n=5, mosaics=2), UsageError, "25 tiles needs as many cells, got 20"),
        (dict(class_balanced=True), UsageError, "class_balanced chooses among cells"),
        (dict(split="fold9"), DatasetError, "no split 'fold9'"),
        (dict(size=1), UsageError, "at most size"),
    ],
)
def test_what_cannot_be_composed_is_refused(write, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        write(**options)
    assert list(tmp_path.iterdir()) == []
