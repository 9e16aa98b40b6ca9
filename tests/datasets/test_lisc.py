"""LISC, on a generated folder of its publishers' shape: no copy of it is allowed."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import class_id
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.lisc import prepare_lisc
from leuko_mm.datasets.prepared import (
    DatasetError,
    read_about,
    read_index,
    read_nucleus,
)

WIDTH, HEIGHT = 36, 29  # a twentieth of the real 720x576; the border stays 4
FOLDERS = {
    "Baso": ("basophil", 50, 50),
    "eosi": ("eosinophil", 75, 100),
    "lymp": ("lymphocyte", 125, 150),
    "mono": ("monocyte", 175, 200),
    "neut": ("neutrophil", 225, 255),
}
EACH = 6


def expert_mask(folder: str, shift: int = 0) -> np.ndarray:
    _, cytoplasm, nucleus = FOLDERS[folder]
    grey = np.zeros((HEIGHT - 8, WIDTH - 8), np.uint8)
    grey[3:15, 4 + shift : 20 + shift] = cytoplasm
    grey[6:11, 8 + shift : 15 + shift] = nucleus
    return grey


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "LISC Database"
    pictures, truth = root / "Main Dataset", root / "Ground Truth Segmentation"
    for shade, folder in enumerate([*FOLDERS, "mixt"]):
        (pictures / folder).mkdir(parents=True)
        for number in range(1, EACH + 1):
            noise = np.random.default_rng([shade, number])
            picture = noise.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(picture).save(pictures / folder / f"{number}.bmp")
            if folder == "mixt":
                continue
            for expert in (1, 2) if number > 1 or folder != "Baso" else (1,):
                masks = truth / folder / f"areaforexpert{expert}"
                masks.mkdir(parents=True, exist_ok=True)
                grey = Image.fromarray(expert_mask(folder, shift=expert - 1))
                grey.save(masks / f"{number}_expert.bmp")
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "lisc"
    assert prepare_lisc(tree, out) is True
    return out


@pytest.fixture
def damaged(tree, tmp_path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "raw" / "LISC"))


def truth(folder: str, number: int, expert: int = 1) -> str:
    place = f"Ground Truth Segmentation/{folder}/areaforexpert{expert}"
    return f"{place}/{number}_expert.bmp"


def test_pictures_take_the_class_of_their_folder(prepared, tree):
    rows = read_index(prepared)
    assert Counter(row.class_name for row in rows) == {
        name: EACH for name, _, _ in FOLDERS.values()
    }
    assert [row.stem for row in rows[5:7]] == ["baso_6", "eosi_1"]
    for row in rows:
        assert (row.kind, row.group, row.place) == ("cell", row.stem, None)
        assert (row.width, row.height) == (WIDTH, HEIGHT)
        with (
            Image.open(prepared / row.image) as ours,
            Image.open(tree / row.source) as published,
        ):
            assert (np.array(ours) == np.array(published)).all()
    assert quick_check(prepared) == {"all": 30}


@pytest.mark.parametrize("folder", FOLDERS)
def test_cell_and_nucleus_are_labelled_and_the_border_ignored(prepared, folder):
    rows = {row.stem: row for row in read_index(prepared)}
    row = rows[f"{folder[:4].lower()}_3"]
    with Image.open(prepared / row.mask) as mask:
        labels = np.array(mask)
    grey = expert_mask(folder)
    assert (labels[4:-4, 4:-4] == np.where(grey > 0, class_id(folder), 0)).all()
    labels[4:-4, 4:-4] = 255
    assert (labels == 255).all()
    nucleus = read_nucleus(prepared, row)
    if folder == "Baso":
        assert nucleus is None
    else:
        expected = np.pad(grey == FOLDERS[folder][2], 4)
        assert (nucleus == expected).all()


def test_the_other_expert_is_another_dataset(tree, tmp_path):
    assert prepare_lisc(tree, tmp_path / "two", expert=2) is True
    rows = {row.stem: row for row in read_index(tmp_path / "two")}
    assert len(rows) == 29
    with Image.open(tmp_path / "two" / rows["mono_3"].mask) as mask:
        cell = np.array(mask)[4:-4, 4:-4] > 0
    assert (cell == (expert_mask("mono", shift=1) > 0)).all()
    notes = read_about(tmp_path / "two")["notes"]
    assert "1 picture(s) without a mask of expert 2 left out" in notes


def test_masks_without_a_folder_of_an_expert_are_the_first_ones(damaged, tmp_path):
    for folder in FOLDERS:
        masks = damaged / "Ground Truth Segmentation" / folder
        for path in sorted((masks / "areaforexpert1").iterdir()):
            path.rename(masks / path.name)
        shutil.rmtree(masks / "areaforexpert1")
        shutil.rmtree(masks / "areaforexpert2")
    assert prepare_lisc(damaged, tmp_path / "out") is True
    assert len(read_index(tmp_path / "out")) == 30


def change(damaged: Path, name: str, content) -> None:
    if content is None:
        (damaged / name).unlink()
    elif isinstance(content, bytes):
        (damaged / name).write_bytes(content)
    else:
        Image.fromarray(content).save(damaged / name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (truth("mono", 4), expert_mask("eosi"), "value 75 on .* expected 0, 175, 200"),
        (truth("mono", 4), np.zeros((21, 28), np.uint8), "no cell is drawn"),
        (truth("mono", 4), expert_mask("mono")[1:], "28x20, but its picture is 36x29"),
        ("Main Dataset/mono/4.bmp", b"no picture", "4.bmp: cannot be read"),
        ("Main Dataset/mono/4.bmp", None, "4_expert.bmp has no picture"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(
    damaged, tmp_path, name, content, words
):
    change(damaged, name, content)
    with pytest.raises(DatasetError, match=words):
        prepare_lisc(damaged, tmp_path / "home" / "out")
    assert list((tmp_path / "home").glob("*")) == []


def test_a_mask_as_large_as_its_picture_has_no_border(damaged, tmp_path):
    whole = np.pad(expert_mask("mono"), 4)
    change(damaged, truth("mono", 4), whole)
    prepare_lisc(damaged, tmp_path / "out")
    row = next(r for r in read_index(tmp_path / "out") if r.stem == "mono_4")
    with Image.open(tmp_path / "out" / row.mask) as mask:
        assert np.unique(np.array(mask)).tolist() == [0, 4]


def test_the_wrong_folder_or_expert_is_named(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no pictures in .*empty; expected folders"):
        prepare_lisc(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DatasetError, match=r"no masks of expert 3 in .*, but of 1, 2;"):
        prepare_lisc(tree, tmp_path / "out", expert=3)
    with pytest.raises(DatasetError, match=r"no masks of expert 1 .* no expert at all"):
        prepare_lisc(tree / "Main Dataset", tmp_path / "out")
