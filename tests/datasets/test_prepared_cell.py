"""What a cell may be: its place, its nucleus, and how both reach the disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.leukocyte_dataset import LeukocyteDataset
from leuko_mm.datasets.nuclei import nucleus_path, read_nucleus
from leuko_mm.datasets.places import Place
from leuko_mm.datasets.prepared import DatasetError, read_about, read_index
from leuko_mm.datasets.prepared_cell import PreparedCell, check_cell
from leuko_mm.datasets.prepared_writing import write_prepared
from leuko_mm.datasets.replacing import row_hash

LABELS = np.array([[0, 2, 2], [0, 2, 255]], np.uint8)
NUCLEUS = np.array([[0, 0, 1], [0, 1, 1]], bool)


def cell(stem: str = "a", **changes) -> PreparedCell:
    picture = np.full((2, 3, 3), 90, np.uint8)
    made = PreparedCell(stem, "eosi", "s1", picture, LABELS, nucleus=NUCLEUS)
    return replace(made, **changes)


FIELD = cell(
    "f", class_name="", kind="field", image=np.zeros((4, 6, 3), np.uint8), nucleus=None
)
FIELD = replace(FIELD, mask=np.kron(LABELS, np.ones((2, 2), np.uint8)))
PLACED = cell(place=Place("f", 0, 0.5, 0.5))


def write(out, cells, **changes) -> bool:
    said = dict(name="n", source="s", licence="l", citation="c", splits={}) | changes
    return write_prepared(out, cells, **said)


@pytest.fixture
def out(tmp_path):
    """A placed cell with a nucleus, one with neither, and their field."""
    root = tmp_path / "home" / "d"
    write(root, [PLACED, cell("b", nucleus=None), FIELD])
    return root


def test_a_place_is_read_back(out):
    placed, bare, field = read_index(out)
    assert placed.place == PLACED.place
    assert (placed.parent, placed.x, placed.y, placed.scale) == ("f", "0", "0.5", "0.5")
    assert bare.place is None
    assert (field.kind, field.class_name, field.place) == ("field", "", None)
    assert read_about(out)["fields"] == 1
    assert read_about(out)["counts"] == {"eosinophil": 2}


def test_a_field_is_no_sample(out):
    assert [e["stem"] for e in LeukocyteDataset(str(out)).data_list] == ["a", "b"]


def test_a_nucleus_is_read_back(out):
    placed, bare, _ = read_index(out)
    assert (read_nucleus(out, placed) == NUCLEUS).all()
    assert read_nucleus(out, placed).dtype == bool
    assert read_nucleus(out, bare) is None
    with Image.open(nucleus_path(out, "a")) as picture:
        assert picture.mode == "P"
        assert (np.array(picture) == NUCLEUS).all()
        assert np.unique(np.array(picture.convert("RGB"))).tolist() == [0, 255]


def test_without_nuclei_there_is_no_folder_and_the_hash_is_as_it_was(out, tmp_path):
    write(tmp_path / "plain", [cell("a", nucleus=None), cell("b", nucleus=None)])
    assert not (tmp_path / "plain" / "nuclei").exists()
    first, second = read_index(tmp_path / "plain")
    assert first.sha256 == second.sha256 == read_index(out)[1].sha256
    assert read_index(out)[0].sha256 != first.sha256


@pytest.mark.parametrize("damage", ["remove", "add", "change", "cut"])
def test_a_nucleus_counts_as_content(out, damage):
    cells = [PLACED, cell("b", nucleus=None), FIELD]
    path = nucleus_path(out, "a")
    if damage == "remove":
        path.unlink()
    elif damage == "add":
        path.with_name("b.png").write_bytes(path.read_bytes())
    elif damage == "change":
        Image.fromarray((~NUCLEUS).astype(np.uint8)).save(path)
    else:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DatasetError, match="--force"):
        write(out, cells)
    assert write(out, cells, force=True) is True
    assert write(out, cells) is False
    assert all(row_hash(out, row) == row.sha256 for row in read_index(out))


@pytest.mark.parametrize(
    ("nucleus", "words"),
    [
        (NUCLEUS.astype(np.uint8), "must be bool"),
        (NUCLEUS[:1], r"must be bool \(2, 3\), got bool \(1, 3\)"),
        (~NUCLEUS, "2 pixel.s. of the nucleus are background"),
    ],
)
def test_a_nucleus_is_part_of_its_cell(nucleus, words):
    with pytest.raises(ValueError, match=words):
        check_cell(cell(nucleus=nucleus))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([PLACED], "a: its parent 'f' is no field here"),
        ([cell("f"), PLACED], "a: its parent 'f' is no field here"),
        ([replace(PLACED, group="s2"), FIELD], "must share|share the group"),
    ],
)
def test_a_parent_is_a_field_of_the_same_group(tmp_path, cells, words):
    with pytest.raises(ValueError, match=words):
        write(tmp_path / "d", cells)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_places_half_is_refused(out):
    path = out / "index.csv"
    path.write_text(path.read_text().replace(",f,0,0.5,0.5,", ",f,0,,0.5,"))
    with pytest.raises(DatasetError, match=r"line 2: .*give all four or none"):
        read_index(out)


def test_notes_are_read_after_the_cells(tmp_path):
    notes = ["known before"]

    def cells():
        yield cell()
        notes.append("met on the way")

    write(tmp_path / "d", cells(), notes=notes)
    about = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert about["notes"] == ["known before", "met on the way"]


def test_a_truncated_image_is_named_and_nothing_is_left(tmp_path):
    whole = tmp_path / "whole.bmp"
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(whole)
    broken = tmp_path / "raw.bmp"
    broken.write_bytes(whole.read_bytes()[:-12])
    with pytest.raises(DatasetError, match=r"b: .*raw.bmp cannot be read"):
        write(tmp_path / "home" / "d", [cell("a"), cell("b", image=broken)])
    assert list((tmp_path / "home").iterdir()) == []
