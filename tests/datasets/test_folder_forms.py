"""Forms people have: names of folders, and faults of labels."""

from __future__ import annotations

import re
import struct
import unicodedata
from pathlib import Path

import annotated_folders as drawn
import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.folders.groups import group_images
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError

IDS = {label: label for label in (0, 1, 2, 3, 4, 5, 255)}
CELL = np.pad(np.full((6, 6), 3, np.uint8), 4)
# What a message never says: Python's own words for a value of another kind.
PYTHON = r"object is not|NoneType|has no attribute|indices must|argument must|unpack"


def noise(place: Path, *names: str, shape=CELL.shape, suffix=".png") -> None:
    for name in names:
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        drawn.save(place / f"{name}{suffix}", Image.fromarray(pixels))


def refused(*args, **more) -> str:
    with pytest.raises(DatasetError) as error:
        survey_folders(*args, **more)
    assert not re.search(PYTHON, str(error.value))
    return str(error.value)


USUAL = "Images Masks|image mask|IMG labels|imgs label|JPEGImages SegmentationClass"
USUAL += "|imagesTr labelsTr|train_images train_masks|images gt|images GroundTruth"
USUAL += "|Original ground_truth|images Annotations|raw segmentations|inputs seg_masks"


PAIRS = [("", pair) for pair in USUAL.split("|")]
PAIRS += [("train/", "images masks"), ("data/val/", "images masks")]


@pytest.mark.parametrize(("part", "pair"), PAIRS)
def test_usual_names_of_folders_are_found(tmp_path, pair, part):
    images, masks = pair.split()
    channel = "_0000" if masks == "labelsTr" else ""
    for number, name in enumerate("ab"):
        noise(tmp_path / part / images, name + channel)
        drawn.as_values(tmp_path / part / masks, {name: CELL // 3 + number}, IDS)
    survey = survey_folders(tmp_path)
    assert [(i.name, i.stem) for i in survey.images] == [("a", "a"), ("b", "b")]
    assert (survey.annotations.form, len(survey.left_out)) == ("masks of values", 0)


def test_parts_of_a_split_are_read_together_and_are_no_slides(tmp_path):
    for part, names in dict(train="s1_1 s1_2 s2_1", valid="s1_3 s2_2").items():
        noise(tmp_path / part / "images", *names.split())
        cells = {f"eos/{name}": CELL for name in names.split()}
        drawn.as_values(tmp_path / part / "masks", cells, {0: 0, 3: 255})
    survey = survey_folders(tmp_path)
    assert [image.name for image in survey.images][::4] == ["train/s1_1", "valid/s2_2"]
    assert survey.guess == {"eos": "eosinophil"}
    grouping = group_images(survey.images, None)
    assert set(grouping.groups.values()) != {"train", "valid"}


def test_what_nnunet_and_pascal_voc_have_besides_is_named(tmp_path):
    noise(tmp_path / "imagesTr", "a_0000")
    noise(tmp_path / "imagesTs", "b_0000")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0}}')
    drawn.as_values(tmp_path / "labelsTr", {"a": CELL}, IDS)
    assert survey_folders(tmp_path).remarks == ["not read: the folders imagesTs"]
    noise(tmp_path / "imagesTr", "a_0001")
    assert "to RGB images" in refused(tmp_path)


def test_folders_of_other_names_are_named(tmp_path):
    noise(tmp_path / "bilder", "a", "b")
    drawn.as_values(tmp_path / "wo die zellen sind", {"a": CELL, "b": CELL}, IDS)
    assert "bilder (2 files), wo die zellen sind (2 files)" in refused(tmp_path)


def test_the_border_of_pascal_voc_is_ignored(tmp_path):
    noise(tmp_path / "JPEGImages", "a", suffix=".jpg")
    mask = np.zeros(CELL.shape, np.uint8)
    mask[3:12, 3:12], mask[4:11, 4:11] = 255, 1
    picture = Image.fromarray(mask)
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[255] = (128, 0, 0), (224, 224, 192)
    picture.putpalette(palette.ravel().tolist())
    drawn.save(tmp_path / "SegmentationClass" / "a.png", picture)
    guess = survey_folders(tmp_path).guess
    assert guess == {"0": "background", "1": "leukocyte", "255": "ignore"}


SQUARE = [[2, 2], [9, 2], [9, 9], [2, 9]]


@pytest.fixture
def place(tmp_path):
    noise(tmp_path / "images", "a")
    (tmp_path / "labels").mkdir()
    return tmp_path


YOLO = "0 .1 .1 .8 .1 .8 .8"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "0 .5 .5 .2 .2", "line 1 is a box.*export YOLO segmentation"),
        ("a.txt", f"{YOLO}\n{YOLO} .9", "line 2 has 7 numbers"),
        ("a.txt", "0 2 2 9 2 9 9", "line 1: .*shares of the image.*from 0 to 1"),
        ("a.txt", "0 nan .1 .8 .1 .8 .8", "line 1: .*finite"),
        ("a.txt", "0 a .1 .8 .1 .8 .8", "line 1: .*pairs of numbers"),
        ("a.txt", "7 .1 .1 .8 .1 .8 .8", "class 7, but only 1"),
        ("a.txt", "x .1 .1 .8 .1 .8 .8", "begins with 'x'"),
        ("a.txt", "0 .1 .1 .8 .8 .8 .8 .1 .1".replace(".8", ".1"), "hold none"),
        ("a.xml", "<annotation><bndbox/></annotation>", "XML.*export COCO"),
        ("a.json", '[{"data": {"image": "a.png"}}]', "Label Studio; export COCO"),
        ("a.json", '{"a.png1": {"regions": []}}', "VIA; export"),
        ("a.json", '{"images": [], "annotations": []}', "'categories' is missing"),
        ("a.csv", "a", "no annotations in .* 1 .csv"),
    ],
)
def test_a_message_says_what_is_wrong_with_the_labels(place, name, text, said):
    (place / "data.yaml").write_text("names: [x]")
    (place / "labels" / name).write_text(text)
    assert re.search(said, refused(place))


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (np.ravel(SQUARE).tolist(), "expected a list of outlines"),
        (SQUARE, "expected a list of outlines"),
        ("[[1, 2]]", "expected a list"),
        ([[None] * 6], "pairs of numbers"),
        ([[10**400] * 6], "pairs of numbers"),
        ([[1e308, -1e308] * 3], "finite"),
        ({"size": [14, 14]}, "'counts' of run lengths is missing"),
        ({"counts": [196]}, "'size' of run lengths is missing"),
        ({"size": [14, 14], "counts": [2**62] * 4 + [196]}, "with the sum 196"),
        ({"size": [14, 14], "counts": [1.5, 194.5]}, "whole numbers"),
    ],
)
def test_a_message_says_what_is_wrong_with_a_segmentation(place, segmentation, said):
    content = dict(
        images=[dict(id=1, file_name="a.png", height="14", width=14.0)],
        annotations=[dict(id=1, image_id=1, category_id=1, segmentation=segmentation)],
        categories=[dict(id=1, name="x")],
    )
    drawn.write_json(place / "labels" / "c.json", content)
    assert said in refused(place)


def test_four_points_of_a_rectangle_are_filled(place):
    shape = dict(label="x", shape_type="rectangle", points=SQUARE)
    drawn.write_json(place / "labels" / "a.json", dict(shapes=[shape]))
    assert survey_folders(place).uses["x"].pixels == 49


@pytest.mark.parametrize(
    ("names", "key"),
    [
        ("names: {0: x}", "x"),
        ("nc: 1", "class 0"),
        ("names: {1: x}", None),
        ("names: [", None),
        ("names: !!python/name:os.system", None),
        ("a: &a [x, x]\nnames: [*a, *a]", None),
    ],
)
def test_names_of_yolo_are_read_from_its_file(place, names, key):
    (place / "data.yaml").write_text(names)
    (place / "labels" / "a.txt").write_text(YOLO)
    if key:
        assert list(survey_folders(place).uses) == [key]
    else:
        assert "data.yaml" in refused(place)


def test_labels_of_an_image_called_test_are_read(place):
    noise(place / "images", "test")
    for name in ("a", "test", "readme"):
        (place / "labels" / f"{name}.txt").write_text(YOLO)
    assert len(survey_folders(place).images) == 2


def test_names_of_yolo_that_contradict_are_refused(place):
    (place / "labels" / "a.txt").write_text(YOLO)
    (place / "data.yaml").write_text("names: [x, y]")
    (place / "classes.txt").write_text("x\r\ny\r\n\r\n")
    assert list(survey_folders(place).uses) == ["x"]
    (place / "classes.txt").write_text("y\nx\n")
    assert "name the classes differently" in refused(place)


@pytest.mark.parametrize("second", ["x, y", "y, x"])
def test_exports_of_yolo_side_by_side_have_one_order_of_classes(tmp_path, second):
    for export, names in (("a", "x, y"), ("b", second)):
        for part in ("train", "valid"):
            noise(tmp_path / export / part / "images", f"{export}_{part}")
            labels = tmp_path / export / part / "labels" / f"{export}_{part}.txt"
            labels.parent.mkdir()
            labels.write_text(YOLO)
        (tmp_path / export / "data.yaml").write_text(f"names: [{names}]")
    if second == "x, y":
        assert list(survey_folders(tmp_path).uses) == ["x"]
    else:
        assert "names of the labels in" in refused(tmp_path)


def test_an_empty_line_among_the_names_of_yolo_is_refused(place):
    (place / "labels" / "a.txt").write_text(YOLO)
    (place / "classes.txt").write_text("x\n\ny\n")
    assert "line 2 names no class" in refused(place)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_look_the_same_are_the_same(tmp_path, forms):
    names = [unicodedata.normalize(form, "Größe") for form in forms]
    noise(tmp_path / "images", names[0])
    drawn.as_values(tmp_path / "masks", {names[1]: CELL}, IDS)
    assert len(survey_folders(tmp_path).images) == 1


def test_labels_of_64_bits_are_named(place):
    side = len(CELL)
    tags = {256: side, 257: side, 258: 64, 259: 1, 262: 1, 273: 8, 277: 1, 278: side}
    tags |= {279: side * side * 8, 339: 2}
    content = struct.pack("<2sHI", b"II", 42, 8 + side * side * 8)
    content += CELL.astype("<i8").tobytes() + struct.pack("<H", len(tags))
    for tag, value in tags.items():
        content += struct.pack("<HHII", tag, 4, 1, value)
    (place / "labels" / "a.tif").write_bytes(content + bytes(4))
    assert "napari saves labels so" in refused(place)
