"""Reading a prepared dataset: what fits, and one clear error for all that does not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL
from leuko_mm.datasets.prepared import (
    DatasetError,
    Place,
    data_home,
    dataset_root,
    field_labels,
    is_plain_name,
    nucleus_path,
    parse_place,
    prepare_command,
    read_about,
    read_index,
    read_nucleus,
    read_split,
    save_nucleus,
)

FIRST = "images/baso_1-1_0.png"


def refused(call, *words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_the_data_home_is_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", "")
    assert data_home() == Path("data")
    monkeypatch.setenv("LEUKO_MM_DATA", "/srv/smears")
    assert data_home() == Path("/srv/smears")
    assert dataset_root("mine") == Path("/srv/smears/mine")
    assert dataset_root("./mine") == Path("mine")
    assert dataset_root("..") == Path("..")


@pytest.mark.parametrize(
    ("root", "command"),
    [
        ("data/bcisc", "leuko prepare bcisc PATH_TO_BCISC"),
        ("/srv/bcisc", "leuko prepare bcisc PATH_TO_BCISC --out /srv/bcisc"),
        ("data/mine", "leuko prepare folders PATH_TO_YOUR_FOLDER --name mine"),
        ("my data/x", "leuko prepare folders PATH_TO_YOUR_FOLDER --out 'my data/x'"),
    ],
)
def test_the_command_fits_the_folder(root, command):
    assert prepare_command(Path(root)) == command


@pytest.mark.parametrize("read", [read_about, read_index, lambda r: read_split(r, "f")])
def test_what_is_not_there_is_named_with_the_command(read, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = "leuko prepare bcisc PATH_TO_BCISC\n"
    refused(lambda: read(Path("data/bcisc")), "data/bcisc does not exist", command)
    raw = tmp_path / "raw"
    raw.mkdir()
    refused(lambda: read(raw), f"{raw} is not a prepared dataset", f"--out {raw}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is broken"),
        ('{"schema": 3}', "schema 3, but this version reads 1 and 2"),
        ('{"schema": 1, "classes": ["a"]}', "classes ['a']; expected background, "),
    ],
)
def test_a_foreign_or_broken_description_is_refused(copied_dataset, text, words):
    (copied_dataset / "dataset.json").write_text(text)
    refused(lambda: read_index(copied_dataset), "dataset.json", words, "--force")


def test_aliases_in_the_index_are_read_as_names(edit_index):
    root = edit_index("baso_1-1_0,cell,basophil", "baso_1-1_0,cell,BASO")
    assert read_index(root)[0].class_name == "basophil"
    assert {row.class_name for row in read_index(root)} == set(CLASS_NAMES[1:])


def test_a_byte_order_mark_and_empty_lines_do_no_harm(copied_dataset):
    path = copied_dataset / "index.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    assert len(read_index(copied_dataset)) == 40


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stem,kind", "name,kind", "first line must be 'stem,kind"),
        ("baso_1-1_0,cell,", "baso_1-1_0,cell,,", "line 2: 15 values, expected 14"),
        (",24,20,", ",wide,20,", "line 2: invalid literal"),
        ("cell,basophil,", "cell,platelet,", "line 2: unknown class 'platelet'"),
        (",,,,,,24,", ",,f,0,,1,24,", "line 2: parent,x,y,scale are ('f', '0',"),
        ("baso_1-1_0,cell", "../baso,cell", "line 2: the stem '../baso'"),
        ("baso_1-2_0,cell", "baso_1-1_0,cell", "line 3: the stem 'baso_1-1_0' occurs"),
    ],
)
def test_a_row_that_does_not_fit_is_named(edit_index, old, new, words):
    root = edit_index(old, new)
    refused(lambda: read_index(root), str(root / "index.csv"), words, "--force")


def test_a_missing_or_binary_index_is_named(copied_dataset):
    path = copied_dataset / "index.csv"
    path.write_bytes(b"\xff\xfe\x00")
    refused(lambda: read_index(copied_dataset), f"{path} is no table")
    path.unlink()
    refused(lambda: read_index(copied_dataset), f"{path} is missing", "--force")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "../tiny/" + FIRST,
        "images/../../elsewhere.png",
        "images/../" + FIRST,
        "C:\\images\\a.png",
        "..\\a.png",
        "",
    ],
)
def test_paths_that_leave_the_dataset_are_refused(edit_index, path):
    root = edit_index(f",{FIRST},", f",{path},")
    refused(
        lambda: read_index(root), f"line 2: image {path!r} leads out of the dataset"
    )
    edit_index(f",{path},masks/baso_1-1_0.png,", f",{FIRST},{path},")
    refused(lambda: read_index(root), f"line 2: mask {path!r} leads out of the dataset")


def test_a_link_out_of_the_dataset_is_refused_and_one_inside_is_not(
    copied_dataset, tiny_dataset
):
    image = copied_dataset / FIRST
    image.unlink()
    image.symlink_to(copied_dataset / "images/baso_1-2_0.png")
    assert len(read_index(copied_dataset)) == 40
    image.unlink()
    image.symlink_to(tiny_dataset / FIRST)
    refused(lambda: read_index(copied_dataset), "line 2", "no link to elsewhere")


@pytest.mark.parametrize("name", ["fold9", "../splits/fold1", "", "/etc/hostname"])
def test_an_unknown_split_lists_those_there_are(tiny_dataset, name):
    refused(
        lambda: read_split(tiny_dataset, name), f"no split {name!r}", "fold1, fold2"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cell,part\n", "first line must be 'stem,part'"),
        ("stem,part\na,val\n", "line 2: 'a,val'; expected 'stem,part'"),
        ("stem,part\na\n", "line 2: 'a'"),
        ("stem,part\na,test\na,train\n", "line 3: 'a' occurs twice"),
    ],
)
def test_a_split_that_does_not_fit_is_named(copied_dataset, text, words):
    path = copied_dataset / "splits" / "mine.csv"
    path.write_text(text)
    refused(lambda: read_split(copied_dataset, "mine"), str(path), words)


def test_plain_names_can_be_part_of_a_file_s_name():
    for name in ("baso_1-1_0", "cell 7", "größe", "a.b"):
        assert is_plain_name(name)
    for name in ("a\0b", "a\\b", ".", "..", "a/", "../baso", ""):
        assert not is_plain_name(name)


@pytest.mark.parametrize("x", [0, 7, 1079.0, 0.1, 1 / 3, -12.5, 1e7])
def test_columns_lead_back_to_the_place(x):
    place = Place("f_1-1", x, 3, 0.5)
    assert parse_place(*place.columns()) == place
    assert parse_place("", "", "", "") is None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("f", "1", "", "0.5"), "give all four or none"),
        (("f", "1", "2", "0"), "a scale above 0"),
        (("f", "nan", "2", "1"), "two finite numbers"),
        (("f", "left", "2", "1"), "could not convert"),
    ],
)
def test_columns_that_place_nothing_are_refused(columns, words):
    with pytest.raises(ValueError, match=words):
        parse_place(*columns)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1, 1.7])
@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (2.4, 3.5), (-3.2, 5), (17, 16.9), (-90, 0), (90, 0)]
)
def test_each_field_pixel_takes_what_lies_under_its_middle(scale, x, y):
    mask = np.random.default_rng(0).integers(0, 6, (5, 7), dtype=np.uint8)
    mask[0, 0] = IGNORE_LABEL
    labels = field_labels((20, 18), [(mask, Place("f", x, y, scale))])
    for row in range(20):
        for column in range(18):
            v = math.floor((row + 0.5 - y) * scale)
            u = math.floor((column + 0.5 - x) * scale)
            inside = 0 <= v < 5 and 0 <= u < 7
            assert labels[row, column] == (mask[v, u] if inside else IGNORE_LABEL)


def test_a_leukocyte_stands_before_the_background_of_a_neighbour():
    cell, bare = np.full((2, 2), 3, np.uint8), np.zeros((2, 4), np.uint8)
    at = [(cell, Place("f", 1, 0, 1)), (bare, Place("f", 0, 0, 1))]
    for order in (at, at[::-1]):
        assert field_labels((2, 4), order).tolist() == [[0, 3, 3, 0]] * 2


NUCLEUS = np.add.outer(np.arange(20), np.arange(24)) % 3 == 0


@pytest.fixture
def row(copied_dataset):
    """The first cell of a dataset without nuclei."""
    return read_index(copied_dataset)[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no picture", "(?s)cannot be read .* --force"),
        (NUCLEUS[1:].astype(np.uint8), r"\(19, 24\), .* expected \(20, 24\) of 0"),
        (NUCLEUS.astype(np.uint8) * 7, "values up to 7"),
    ],
)
def test_what_does_not_fit_is_refused(copied_dataset, row, content, words):
    path = nucleus_path(copied_dataset, row.stem)
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(DatasetError, match=words):
        read_nucleus(copied_dataset, row)


def test_a_link_to_elsewhere_is_refused(copied_dataset, row, tmp_path):
    save_nucleus(copied_dataset, row.stem, NUCLEUS)
    path = nucleus_path(copied_dataset, row.stem)
    path.rename(tmp_path / "other.png")
    path.symlink_to(tmp_path / "other.png")
    with pytest.raises(DatasetError, match="leads out of the dataset"):
        read_nucleus(copied_dataset, row)
