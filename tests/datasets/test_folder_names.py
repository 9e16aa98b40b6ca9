"""What names say: the class map, the groups of images, the image of every mask."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from leuko_mm.datasets.converters.folders.annotation import SourceImage
from leuko_mm.datasets.converters.folders.class_map import (
    guess_map,
    map_text,
    parse_map,
)
from leuko_mm.datasets.converters.folders.groups import group_images
from leuko_mm.datasets.converters.folders.pairs import (
    divide_beside,
    match_masks,
    stem_of,
)
from leuko_mm.datasets.prepared import DatasetError

RF = "_jpg.rf.0dc72bd3dc46116f232961e6727c00"
UUID = "_0f8fad5b-d9cb-469f-a165-7086772895"


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (f"a{RF}8a a{RF}01 b{RF}77", "a a b"),
        (f"train/a{RF}8a test/a{RF}01 valid/b{RF}77", "a a b"),
        (f"s_original_a.png{UUID}0e s_original_a.png{UUID}01 b", "a a b"),
        ("a a_aug_3 b_rot90 b_flip_rot-15 c", "a a b b c"),
        ("augmented_original_a a AUG_b Aug_1_b", "a a b b"),
        ("a a_blur a_dark_2 b", "a a a b"),
        # The word alone says nothing, nor do pieces of one image.
        ("a_flip b_aug phase_contrast_1 phase_contrast_2 f_crop_1 f_crop_2", None),
        ("smear_aug_1 smear_aug_2 smear_aug_3", None),
    ],
)
def test_names_of_augmented_copies_share_a_group(names, groups):
    some = images(*names.split())
    made = group_images(some, None)
    own = [image.stem for image in some]
    assert list(made.groups.values()) == (groups.split() if groups else own)
    assert bool(made.remarks) == bool(groups)
    apart = group_images(some, ".+")
    assert len(apart.sizes()) == len(some)
    if groups:
        assert "--group-by '.+' keeps every image apart" in made.remarks[0]
        assert "have copies in several groups" in apart.remarks[0]


def test_files_of_the_same_bytes_share_a_group(tmp_path):
    some = [replace(i, path=tmp_path / i.path.name) for i in images("a", "b", "c")]
    for image, content in zip(some, (b"same", b"else", b"same"), strict=True):
        image.path.write_bytes(content)
    assert list(group_images(some, None).groups.values()) == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,x\nb,y\na,y", "'a,x' and 'a,y'"),
        ("a,x\nb,y\na.png,y", "'a,x' and 'a.png,y'"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, rows, said):
    table = tmp_path / "groups.csv"
    table.write_text(f"stem,group\n{rows}\n")
    with pytest.raises(DatasetError, match=f"one image two groups: {said}"):
        group_images(images("a", "b"), str(table))


def test_a_table_that_divides_copies_is_named(tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("stem,group\na,x\na,x\nb,z\n")
    some = images("a", "a_aug_1", "b")
    whole = group_images(some, str(table))
    assert (list(whole.groups.values()), whole.remarks) == (["x", "x", "z"], ())
    table.write_text("stem,group\na,x\na_aug_1,y\nb,z\n")
    (remark,) = group_images(some, str(table)).remarks
    assert "1 image(s) have copies in several groups" in remark
    assert "a = a_aug_1" in remark


NAMES = ["cell_1.png", "cell_2.png"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("0 1 2 5", "background basophil eosinophil neutrophil"),
        ("0 3 255", "background lymphocyte ignore"),
        ("0 1", "background leukocyte"),
        ("0 1 255", "background leukocyte ignore"),
        ("0 128 255", "background ? ?"),
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
    targets = {"0": "background", "a, b=c": "monocyte", "#ff0000": "other"}
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
        SourceImage(Path(f"x/{key}.png"), f"{key}.png", key, stem_of(key))
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


@pytest.mark.parametrize("name", ["{}_{}", "{}/IMG_{}"])
def test_groups_that_are_the_classes_are_not_guessed(name):
    classes = ("baso", "eosinophil", "LYMPHOCYTE", "mono", "neut")
    some = images(*(name.format(c, n) for c in classes for n in range(3)))
    made = group_images(some, None)
    assert (made.known, len(made.sizes())) == (False, 15)


def test_groups_by_a_pattern_a_folder_or_a_table(tmp_path):
    some = images("d/p1_a", "d/p1_b", "e/p2_a")
    assert len(group_images(some, r"p\d").sizes()) == 2
    assert group_images(some, r"/(p\d)_").groups["e-p2_a"] == "p2"
    assert group_images(some, "parent").groups["d-p1_b"] == "d"
    table = tmp_path / "groups.csv"
    table.write_text("stem,group\nd-p1_a,x\nd/p1_b.png,x\np2_a,y\n")
    assert list(group_images(some, str(table)).groups.values()) == ["x", "x", "y"]


@pytest.mark.parametrize("how", ["parent", "^[a-z]+"])
def test_groups_that_are_the_classes_are_refused(how):
    with pytest.raises(DatasetError, match="a group of every class"):
        group_images(images("baso/a", "baso/b", "mono/a"), how)
    assert len(group_images(images("baso/a_1", "mono/a_1"), r"_\d").sizes()) == 1


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
