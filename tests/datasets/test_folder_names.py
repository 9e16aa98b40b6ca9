"""What names say: the class map, the groups of images, the image of every mask."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from leuko_mm.datasets.converters.folders.annotation import SourceImage
from leuko_mm.datasets.converters.folders.class_map import (
    guess_map,
    map_text,
    parse_map,
)
from leuko_mm.datasets.converters.folders.groups import group_images
from leuko_mm.datasets.converters.folders.pairs import divide_beside, match_masks
from leuko_mm.datasets.prepared import DatasetError

NAMES = ["cell_1.png", "cell_2.png"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("0 1 2 5", "background basophil eosinophil neutrophil"),
        ("0 3 255", "background lymphocyte ignore"),
        ("0 1", "background leukocyte"),
        ("0 7 9", "background ? ?"),
        ("0 100", "background leukocyte"),
        ("#000000 #ffffff", "background leukocyte"),
        ("#000000 #ff0000 #0000fe", "background basophil monocyte"),
        ("#000000 #808080 #800080", "background ignore neutrophil"),
        ("#000000 #ff0000 #fe0000", "background ? ?"),
        ("Baso RBC void", "basophil background ignore"),
        ("WBC", "leukocyte"),
        ("neut+neutrophil mono+baso nucleus", "neutrophil ? ?"),
    ],
)
def test_what_keys_probably_mean(keys, expected):
    guess = guess_map(keys.split(), {}, NAMES)
    assert list(guess) == keys.split()
    assert [target or "?" for target in guess.values()] == expected.split()


def test_a_palette_of_known_colours_says_more_than_its_values():
    colours = {"0": (0, 0, 0), "1": (0, 0, 255), "2": (255, 0, 0)}
    guess = guess_map(["0", "1", "2"], colours, NAMES)
    assert guess == {"0": "background", "1": "monocyte", "2": "basophil"}
    grey = {str(v): (v, v, v) for v in range(3)}
    assert guess_map(["0", "1", "2"], grey, NAMES)["1"] == "basophil"


def test_a_map_comes_back_from_how_it_is_typed():
    targets = {"0": "background", "a, b=c": "monocyte", "#ff0000": "ignore"}
    assert parse_map(shlex.split(map_text(targets))[0]) == targets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "expected value=class"),
        ("0=bg,0=baso", "twice"),
        ("1=basofil", "unknown class 'basofil'.*by-name"),
    ],
)
def test_a_map_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(DatasetError, match=said):
        parse_map(text)


def images(*keys) -> list[SourceImage]:
    return [
        SourceImage(Path(f"x/{key}.png"), f"{key}.png", key, key.replace("/", "-"))
        for key in keys
    ]


def test_groups_are_guessed_from_folders_of_slides_but_not_of_classes():
    slides = group_images(images("s1/a", "s1/b", "s2/a"), None)
    assert list(slides.groups.values()) == ["s1", "s1", "s2"]
    assert slides.known
    classes = group_images(images("baso/a", "baso/b", "mono/a"), None)
    assert not classes.known
    assert len(classes.sizes()) == 3
    nested = group_images(images("baso/s1/a", "baso/s1/b", "mono/s1/a"), None)
    assert nested.groups["baso-s1-b"] == "baso-s1"


def test_groups_are_guessed_from_numbers_at_the_end_of_names():
    many = group_images(
        images(*(f"P{p}_{n}" for p in range(6) for n in range(3))), None
    )
    assert len(many.sizes()) == 6
    assert many.groups["P3_1"] == "P3"
    same = group_images(images(*(f"cell_{n}" for n in range(9))), None)
    assert (same.known, len(same.sizes())) == (False, 9)


def test_groups_by_a_pattern_a_folder_or_a_table(tmp_path):
    some = images("d/p1_a", "d/p1_b", "e/p2_a")
    assert len(group_images(some, r"p\d").sizes()) == 2
    assert group_images(some, r"/(p\d)_").groups["e-p2_a"] == "p2"
    assert group_images(some, "parent").groups["d-p1_b"] == "d"
    table = tmp_path / "groups.csv"
    table.write_text("stem,group\nd-p1_a,x\nd/p1_b.png,x\np2_a,y\n")
    assert list(group_images(some, str(table)).groups.values()) == ["x", "x", "y"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("p(", "is no pattern"),
        ("q", "finds no group in 'd/p1_a'"),
        ("wrong.csv", "expected 'stem,group'"),
        ("few.csv", "gives no group to 'd-p1_b'"),
    ],
)
def test_a_grouping_that_does_not_fit_is_refused(tmp_path, monkeypatch, how, said):
    monkeypatch.chdir(tmp_path)
    Path("wrong.csv").write_text("name,slide\n")
    Path("few.csv").write_text("stem,group\np1_a,x\n")
    with pytest.raises(DatasetError, match=said):
        group_images(images("d/p1_a", "d/p1_b"), how)


def test_masks_find_their_images():
    some = images("a_1", "a_1_2", "s/b")
    masks = ["a_1_mask", "a_1_2_eos", "mono/a_1_2", "GT/s/b", "other/c"]
    root = Path("m")
    found, unused = match_masks([(f"{m}.png", root / f"{m}.png") for m in masks], some)
    assert {k: list(v) for k, v in found.items()} == {
        "a_1": [""],
        "a_1_2": ["eos", "mono"],
        "s/b": [""],
    }
    assert unused == [str(root / "other/c.png")]
    with pytest.raises(DatasetError, match="both masks of 'a_1'"):
        match_masks([("a_1.png", root), ("a_1_mask.png", root)], some)


def test_images_without_masks_beside_them_are_all_images():
    paths = [Path("a.png"), Path("b.jpg"), Path("c_mask.png")]
    assert divide_beside(paths) == (paths, [])
