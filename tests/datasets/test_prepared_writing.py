"""Writing a prepared dataset: all of it or nothing, and the same a second time."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES, IGNORE_LABEL
from leuko_mm.datasets.prepared import (
    DatasetError,
    Place,
    nucleus_path,
    read_about,
    read_index,
    read_nucleus,
    read_split,
)
from leuko_mm.datasets.prepared_writing import (
    PreparedCell,
    content_hash,
    row_hash,
    write_prepared,
    write_split,
)

LABELS = np.array([[0, 1, IGNORE_LABEL], [5, 0, 2]], np.uint8)
NUCLEUS = np.array([[0, 1, 1], [0, 0, 1]], bool)


def cell(stem: str = "a", shade: int = 7, **changes) -> PreparedCell:
    made = PreparedCell(
        stem=stem,
        class_name="baso",
        group="slide_1",
        image=np.full((2, 3, 3), shade, np.uint8),
        mask=LABELS,
        source=f"raw/{stem}.bmp",
    )
    return replace(made, **changes)


def write(out, cells, **changes) -> bool:
    about = dict(
        name="mine",
        source="https://example.org",
        licence="CC0-1.0",
        citation="Nobody, 2024",
        splits={},
    )
    return write_prepared(out, cells, **about | changes)


PAIR = [cell("a"), cell("b", shade=9)]
SPLIT = {"fold1": {"a": "train", "b": "test"}}
FIELD = cell(
    "f",
    class_name="",
    kind="field",
    image=np.zeros((4, 6, 3), np.uint8),
    mask=np.kron(LABELS, np.ones((2, 2), np.uint8)),
)
PLACED = [cell(place=Place("f", 0, 0.5, 0.5), nucleus=NUCLEUS), cell("b"), FIELD]


@pytest.fixture
def out(tmp_path):
    """A dataset of two cells, alone in its folder."""
    written = tmp_path / "home" / "mine"
    assert write(written, PAIR, splits=SPLIT)
    return written


@pytest.fixture
def placed(tmp_path):
    """A placed cell with a nucleus, one with neither, and their field."""
    root = tmp_path / "home" / "d"
    write(root, PLACED)
    return root


def test_what_was_written_is_read_back(out):
    header = "stem,kind,class,group,source,parent,x,y,scale,width,height,image,mask"
    assert (out / "index.csv").read_text().startswith(f"{header},sha256\na,cell,")
    rows = read_index(out)
    assert [row.stem for row in rows] == ["a", "b"]
    first, names = rows[0], ("basophil", "slide_1", "raw/a.bmp")
    assert (first.class_name, first.group, first.source) == names
    assert (rows[0].width, rows[0].height) == (3, 2)
    assert rows[0].parent == rows[0].x == rows[0].y == rows[0].scale == ""
    with Image.open(out / rows[1].image) as image:
        assert (np.array(image) == 9).all()
    assert read_split(out, "fold1") == SPLIT["fold1"]


def test_masks_are_palette_images_whose_values_are_the_ids(out):
    with Image.open(out / "masks" / "a.png") as mask:
        assert mask.mode == "P"
        assert (np.array(mask) == LABELS).all()
        shown = np.array(mask.convert("RGB"))
    assert tuple(shown[0, 1]) == CLASS_COLOURS[1]
    assert tuple(shown[1, 0]) == CLASS_COLOURS[5]


def test_the_description_counts_and_hashes(tmp_path):
    cells = [*PAIR, cell("c", class_name="neut", group="slide_2")]
    cells.append(cell("f", class_name="", group="", kind="field"))
    write(tmp_path / "d", cells)
    about = read_about(tmp_path / "d")
    assert about["counts"] == {"basophil": 2, "neutrophil": 1}
    assert about["groups"] == 2
    assert about["classes"] == list(CLASS_NAMES)
    index = (tmp_path / "d" / "index.csv").read_bytes()
    assert about["sha256"] == hashlib.sha256(index).hexdigest()
    assert (about["licence"], about["schema"]) == ("CC0-1.0", 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(stem="../a"), "'../a' cannot be part of a file's name"),
        (dict(kind="crop"), "kind 'crop', expected one of"),
        (dict(class_name=""), "a cell needs both"),
        (dict(class_name="platelet"), "unknown class 'platelet'"),
        (dict(mask=LABELS.astype(int)), r"\(H, W\) uint8, got \(2, 3\) int64"),
        (dict(mask=LABELS + 6), r"the mask holds \[6, 7, 8, 11\]; expected 0 to 5"),
        (dict(mask=LABELS[:1]), "the image is 3x2 but its mask is 3x1"),
        (dict(image=np.zeros((2, 3, 3))), r"\(2, 3, 3\) float64"),
        (dict(nucleus=NUCLEUS[:1]), r"must be bool \(2, 3\), got bool \(1, 3\)"),
        (dict(nucleus=~NUCLEUS), "2 pixel.s. of the nucleus are background"),
    ],
)
def test_a_cell_that_does_not_fit_is_named_and_nothing_is_left(
    tmp_path, changes, words
):
    with pytest.raises(ValueError, match=words):
        write(tmp_path / "d", [cell("first"), cell(**changes)])
    assert list(tmp_path.iterdir()) == []


def test_the_second_time_changes_nothing_and_keeps_splits_added_since(out, snapshot):
    write_split(out, "mine", {"a": "test", "b": "train"}, known={"a", "b"})
    before = snapshot(out.parent)
    assert write(out, PAIR, splits=SPLIT) is False
    assert write(out, PAIR, splits=SPLIT, force=True) is False
    assert snapshot(out.parent) == before


OTHERS = {
    "another image": dict(cells=[cell("a", shade=8), PAIR[1]], splits=SPLIT),
    "another mask": dict(cells=[cell("a", mask=LABELS[::-1]), PAIR[1]], splits=SPLIT),
    "one cell less": dict(cells=PAIR[:1]),
    "another split": dict(cells=PAIR, splits={"fold1": {"a": "test", "b": "train"}}),
    "one split more": dict(cells=PAIR, splits={**SPLIT, "fold2": {"a": "test"}}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_other_content_needs_force(out, snapshot, other):
    before = snapshot(out.parent)
    with pytest.raises(DatasetError, match="different content; add --force"):
        write(out, **other)
    assert snapshot(out.parent) == before
    assert write(out, **other, force=True) is True
    assert snapshot(out.parent) != before
    assert [path.name for path in out.parent.iterdir()] == ["mine"]
    assert write(out, **other) is False


@pytest.mark.parametrize("damage", ["remove", "add", "change", "cut"])
@pytest.mark.parametrize("name", ["masks/a.png", "images/b.png", "nuclei/a.png"])
def test_force_repairs_damaged_files(placed, name, damage):
    path = placed / name
    if damage == "remove":
        path.unlink()
    elif damage == "add":
        (placed / "nuclei/b.png").write_bytes((placed / "nuclei/a.png").read_bytes())
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:40])
    else:
        Image.fromarray((~NUCLEUS).astype(np.uint8)).save(path)
    with pytest.raises(DatasetError, match="--force"):
        write(placed, PLACED)
    assert write(placed, PLACED, force=True) is True
    assert write(placed, PLACED) is False
    assert all(row_hash(placed, row) == row.sha256 for row in read_index(placed))


def test_a_failure_half_way_leaves_what_was_there(out, snapshot):
    def broken():
        yield cell("new")
        raise RuntimeError("the source ended")

    before = snapshot(out.parent)
    with pytest.raises(RuntimeError, match="the source ended"):
        write(out, broken(), force=True)
    assert snapshot(out.parent) == before
    assert [path.name for path in out.parent.iterdir()] == ["mine"]


def test_a_kill_half_way_leaves_what_was_there(out, snapshot):
    def deadly():
        yield cell("new")
        os.kill(os.getpid(), signal.SIGKILL)

    before = snapshot(out)
    process = multiprocessing.get_context("fork").Process(
        target=write, args=(out, deadly()), kwargs=dict(force=True)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert snapshot(out) == before
    assert write(out, [cell("new")], force=True) is True
    assert [row.stem for row in read_index(out)] == ["new"]


def test_the_next_run_takes_up_what_a_killed_one_set_aside(out):
    os.replace(out, out.with_name(".mine-x1234_78-old"))
    assert write(out, PAIR, splits=SPLIT) is False
    assert [path.name for path in out.parent.iterdir()] == ["mine"]
    assert len(read_index(out)) == 2


def test_a_folder_of_other_things_is_never_replaced(tmp_path, snapshot):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").write_text("x")
    before = snapshot(tmp_path)
    for force in (False, True):
        with pytest.raises(DatasetError, match="is not a prepared dataset, so it is"):
            write(tmp_path / "photos", PAIR, force=force)
    assert snapshot(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty", PAIR) is True


def test_splits_that_force_would_drop_are_named(out):
    write_split(out, "mine_fold1", {"a": "test"}, known={"a"})
    with pytest.raises(DatasetError, match=r"which drops the splits mine_fold1, or"):
        write(out, PAIR[:1], splits={"fold1": {"a": "test"}})


def test_force_rewrites_the_description_alone(out, snapshot):
    before = snapshot(out)
    assert write(out, PAIR, splits=SPLIT, licence="CC-BY-4.0") is False
    assert snapshot(out) == before
    changed = dict(splits=SPLIT, licence="CC-BY-4.0", force=True)
    assert write(out, PAIR, **changed) is True
    assert read_about(out)["licence"] == "CC-BY-4.0"
    after = snapshot(out)
    assert {name for name in after if after[name] != before[name]} == {"dataset.json"}
    assert write(out, PAIR, **changed) is False


def test_what_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match=r"d was not written .* another --out"):
        write(tmp_path / "file" / "d", PAIR)
    with pytest.raises(DatasetError, match=r"No such file .*gone.jpg"):
        write(tmp_path / "d", [cell(image=tmp_path / "gone.jpg")])
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("split", "parts", "words"),
    [
        ("s", {"z": "test"}, "'z' -> 'test'; expected a stem of the index"),
        ("s", {"a": "val"}, "'a' -> 'val'"),
        ("../s", {"a": "test"}, "'../s' cannot be part of a file's name"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(out, split, parts, words):
    with pytest.raises(ValueError, match=words):
        write_split(out, split, parts, known={"a", "b"})
    assert [path.name for path in (out / "splits").iterdir()] == ["fold1.csv"]


def test_names_need_not_be_english(tmp_path):
    split = {"größe": {"日本 1": "test"}}
    write(tmp_path / "d", [cell("日本 1", group="préparation, 2")], splits=split)
    assert read_index(tmp_path / "d")[0].group == "préparation, 2"
    assert read_split(tmp_path / "d", "größe") == {"日本 1": "test"}
    assert json.loads((tmp_path / "d" / "dataset.json").read_text())["groups"] == 1


def test_a_png_counts_by_its_pixels_and_a_jpeg_by_its_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    image = Image.fromarray(pixels)
    for number, level in enumerate((0, 9)):
        image.save(tmp_path / f"{number}.png", compress_level=level)
        image.save(tmp_path / f"{number}.jpg", quality=50 + 40 * number)
    hashes = {p.name: content_hash(p, mask) for p in tmp_path.iterdir()}
    assert hashes["0.png"] == hashes["1.png"]
    assert hashes["0.jpg"] != hashes["1.jpg"]
    assert content_hash(tmp_path / "0.png", mask + 1) != hashes["0.png"]


def test_a_place_is_read_back(placed):
    first, bare, field = read_index(placed)
    assert (first.parent, first.x, first.y, first.scale) == ("f", "0", "0.5", "0.5")
    assert bare.place is None
    assert (field.kind, field.class_name, field.place) == ("field", "", None)
    assert read_about(placed)["fields"] == 1
    assert read_about(placed)["counts"] == {"basophil": 2}


def test_a_nucleus_is_read_back(placed):
    first, bare, _ = read_index(placed)
    assert (read_nucleus(placed, first) == NUCLEUS).all()
    assert read_nucleus(placed, bare) is None
    with Image.open(nucleus_path(placed, "a")) as picture:
        assert picture.mode == "P"
        assert (np.array(picture) == NUCLEUS).all()
        assert np.unique(np.array(picture.convert("RGB"))).tolist() == [0, 255]


def test_without_nuclei_there_is_no_folder_and_the_hash_is_as_it_was(placed, out):
    assert not (out / "nuclei").exists()
    first, second, _ = read_index(placed)
    assert first.sha256 != second.sha256 == read_index(out)[0].sha256


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (PLACED[:1], "a: its parent 'f' is no field here"),
        ([cell("f"), PLACED[0]], "a: its parent 'f' is no field here"),
        ([replace(PLACED[0], group="s2"), FIELD], "share the group"),
        ([cell("a"), cell("a", shade=1)], "'a' comes twice"),
    ],
)
def test_cells_that_do_not_fit_together_are_named(tmp_path, cells, words):
    with pytest.raises(ValueError, match=words):
        write(tmp_path / "d", cells)
    assert list(tmp_path.iterdir()) == []
