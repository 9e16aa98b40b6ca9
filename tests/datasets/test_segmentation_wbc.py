"""segmentation_WBC: two sets, class from the table, nucleus kept, strays told."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import class_id
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.segmentation_wbc import prepare_segmentation_wbc
from leuko_mm.datasets.prepared import (
    DatasetError,
    read_about,
    read_index,
    read_nucleus,
    read_split,
)
from leuko_mm.datasets.splits import shared_groups

FOLDS = ["fold1", "fold2", "fold3", "fold4", "fold5"]
SPLITS = ["development", *FOLDS, "paper"]
# The publishers' numbers of neutrophil, lymphocyte, monocyte, eosinophil, basophil.
KINDS = ["1", "2", "3", "4", "5"]
NAMES = ["neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil"]


def grey_mask(width: int, height: int) -> np.ndarray:
    grey = np.zeros((height, width), np.uint8)
    grey[2:-2, 2:-2], grey[4:-4, 4:-4] = 128, 255
    return grey


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Both sets in small: 25 images of odd sizes and 25 of one, all five classes."""
    root = tmp_path_factory.mktemp("raw") / "segmentation_WBC"
    for number, count in ((1, 25), (2, 25)):
        folder = root / f"Dataset {number}"
        folder.mkdir(parents=True)
        # The publishers' two tables differ in their first line.
        lines = ["image ID,class label" if number == 1 else "image ID,class"]
        for image in range(1, count + 1):
            size = (12 + image % 3, 11 + image % 4) if number == 1 else (16, 16)
            noise = np.random.default_rng([number, image])
            picture = noise.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / f"{image:03d}.bmp")
            Image.fromarray(grey_mask(*size)).save(folder / f"{image:03d}.png")
            lines.append(f"{image},{KINDS[image % 5]}")
        table = root / f"Class Labels of Dataset {number}.csv"
        table.write_text("\n".join(lines) + "\n")
    grey = grey_mask(16, 16)
    grey[0, :3] = 7
    Image.fromarray(grey).save(root / "Dataset 2" / "009.png")
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "segmentation_wbc"
    assert prepare_segmentation_wbc(tree, out) is True
    return out


@pytest.fixture
def damaged(tree, tmp_path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "raw" / "segmentation_WBC"))


@pytest.fixture(scope="module")
def real(shared_folder, tmp_path_factory) -> Path:
    source = shared_folder / "datasets" / "segmentation_WBC"
    if not source.is_dir():
        pytest.skip(f"needs segmentation_WBC in {source}")
    out = tmp_path_factory.mktemp("real") / "segmentation_wbc"
    prepare_segmentation_wbc(source, out)
    return out


def test_both_sets_are_one_dataset_with_classes_of_the_tables(prepared):
    rows = read_index(prepared)
    assert len(rows) == 50
    assert [row.stem for row in rows[24:26]] == ["set1_025", "set2_001"]
    for row in rows:
        assert row.class_name == NAMES[int(row.stem[-3:]) % 5]
        assert row.source == f"Dataset {row.stem[3]}/{row.stem[-3:]}.bmp"
        assert row.group == row.stem


def test_images_keep_their_pixels_and_masks_are_merged_to_the_cell(prepared, tree):
    for row in read_index(prepared):
        with (
            Image.open(prepared / row.image) as ours,
            Image.open(tree / row.source) as published,
        ):
            assert (np.array(ours) == np.array(published)).all()
        grey = grey_mask(row.width, row.height)
        with Image.open(prepared / row.mask) as mask:
            expected = np.where(grey > 0, class_id(row.class_name), 0)
            assert (np.array(mask) == expected).all()
        assert (read_nucleus(prepared, row) == (grey == 255)).all()


def test_folds_spread_sets_and_classes_evenly(prepared):
    there = sorted(path.stem for path in (prepared / "splits").iterdir())
    assert there == [*SPLITS, "set1_to_set2", "set2_to_set1"]
    kind = {row.stem: (row.stem[:4], row.class_name) for row in read_index(prepared)}
    tested = Counter()
    for fold in FOLDS:
        parts = read_split(prepared, fold)
        test = [stem for stem, part in parts.items() if part == "test"]
        counts = Counter(kind[stem] for stem in test)
        assert counts == {(s, name): 1 for s in ("set1", "set2") for name in NAMES}
        tested.update(test)
    assert tested == Counter(kind.keys())


def test_one_laboratory_can_be_tested_on_the_other(prepared):
    parts = read_split(prepared, "set1_to_set2")
    assert {(s[:4], part) for s, part in parts.items()} == {
        ("set1", "train"),
        ("set2", "test"),
    }
    assert len(parts) == 50
    assert set(read_split(prepared, "set2_to_set1").items()) == {
        (s, "test" if part == "train" else "train") for s, part in parts.items()
    }


@pytest.mark.parametrize("chosen", ["1", "2"])
def test_one_set_is_a_dataset_of_its_own(tree, tmp_path, chosen):
    out = tmp_path / "one"
    assert prepare_segmentation_wbc(tree, out, chosen=chosen) is True
    assert {row.stem[:4] for row in read_index(out)} == {f"set{chosen}"}
    assert len(read_index(out)) == 25
    assert read_about(out)["name"] == f"segmentation_wbc_{chosen}"
    assert sorted(path.stem for path in (out / "splits").iterdir()) == SPLITS


def test_a_copy_with_one_set_names_the_other(damaged, tmp_path):
    shutil.rmtree(damaged / "Dataset 2")
    with pytest.raises(DatasetError, match=r"Dataset 2; .* choose a set with --set"):
        prepare_segmentation_wbc(damaged, tmp_path / "out")
    assert prepare_segmentation_wbc(damaged, tmp_path / "out", chosen="1") is True


TABLE = "Class Labels of Dataset 2.csv"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Dataset 1/013.png", None, "013 has an image or a mask but not"),
        ("Dataset 2/013.png", b"no picture", "013.png: cannot be read"),
        ("Dataset 2/013.bmp", 60, "013.bmp: cannot be read"),
        ("Dataset 2/013.png", grey_mask(30, 30), "is 16x16 but its mask is 30x30"),
        (TABLE, None, "Dataset 2.csv cannot be read"),
        (TABLE, b"id,class\n1,2\n", "Dataset 2.csv has no line for 002.bmp"),
        (TABLE, b"id,class\n1,6\n", "'1,6'; expected an image's number and"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(
    damaged, tmp_path, name, content, words
):
    path = damaged / name
    if content is None:
        path.unlink()
    elif isinstance(content, np.ndarray):
        Image.fromarray(content).save(path)
    else:
        path.write_bytes(
            content if isinstance(content, bytes) else path.read_bytes()[:content]
        )
    with pytest.raises(ValueError, match=words):
        prepare_segmentation_wbc(damaged, tmp_path / "home" / "out")
    assert list((tmp_path / "home").glob("*")) == []


def test_real_cells_have_every_size_class_and_stray_value(real):
    rows = read_index(real)
    first = [row for row in rows if row.stem.startswith("set1")]
    assert (len(first), len(rows)) == (300, 360)
    sizes = Counter((row.width, row.height) for row in first)
    assert (sizes[120, 120], len(sizes)) == (224, 30)
    assert Counter(row.class_name for row in first) == dict(
        neutrophil=176, lymphocyte=53, monocyte=48, eosinophil=22, basophil=1
    )
    assert Counter(row.class_name for row in rows[300:]) == dict(
        neutrophil=20, lymphocyte=22, monocyte=9, eosinophil=7, basophil=2
    )
    strays = [note for note in read_about(real)["notes"] if "stray" in note]
    assert strays == [
        f"Dataset 2/{name}.png: stray value {told} pixel(s), taken as the nearest level"
        for name, told in (("035", "3 on 3"), ("047", "7 on 179"), ("050", "9 on 22"))
    ]
    assert sum(quick_check(real, split="fold5").values()) == 360


def test_real_cells_that_were_published_twice_stand_on_one_side(real):
    groups = {row.stem: row.group for row in read_index(real)}
    joined = {stem: group for stem, group in groups.items() if stem != group}
    assert joined == {
        "set1_139": "set1_112",
        "set1_158": "set1_157",
        "set1_169": "set1_167",
        "set1_171": "set1_166",
    }
    for fold in FOLDS:
        assert shared_groups(read_split(real, fold), groups) == []
