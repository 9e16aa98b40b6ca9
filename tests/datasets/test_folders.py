"""``prepare folders``: every form of annotation comes back as the labels written."""

from __future__ import annotations

import os
from functools import partial

import annotated_folders as drawn
import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.folders.annotation import Annotation
from leuko_mm.datasets.converters.folders.convert import (
    FoldersRequest,
    find_crops,
    prepare_folders,
)
from leuko_mm.datasets.converters.folders.groups import group_images
from leuko_mm.datasets.converters.folders.pairs import list_files
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError, read_about, read_index, read_split
from leuko_mm.datasets.splits import shared_groups

VALUES = (0, 1, 2, 3, 4, 5, 255)


def random_labels(rng, *, images: int) -> dict:
    """Return blocks of random labels, of random sizes, one without any cell."""
    labels = {}
    odds = [0.4, *[0.1] * 6]
    for number in range(images):
        height, width = rng.integers(8, 40, 2)
        coarse = rng.choice(VALUES, (5, 5), p=odds)
        rows = np.sort(rng.integers(0, 5, height))
        columns = np.sort(rng.integers(0, 5, width))
        key = f"{('', 'a/b/')[number % 2]}cell {number}"
        labels[key] = coarse[np.ix_(rows, columns)].astype(np.uint8)
    labels[key][2:5, 3:6] = 4
    labels["none"] = np.zeros((9, 8), np.uint8)
    return labels


def prepare(images, out, masks=None, *, targets=None, group_by=None, **more) -> list:
    survey = survey_folders(images, masks)
    request = FoldersRequest(
        name="mine",
        targets=targets or survey.guess,
        grouping=group_images(survey.images, group_by),
        **more,
    )
    assert prepare_folders(survey, out, request)
    return read_index(out)


def mask_of(root, row) -> np.ndarray:
    return np.array(Image.open(root / row.mask))


IDS = {label: label for label in VALUES}
LARGE = {label: 8191 * number for number, label in enumerate(VALUES)}
SHUFFLED = dict(zip(VALUES, (9, 200, 0, 255, 4, 77, 31), strict=True))
FORMS = {
    "values": partial(drawn.as_values, values=LARGE),
    "ids": partial(drawn.as_values, values=IDS),
    "palette": partial(drawn.as_palette, values=SHUFFLED),
    "colours": drawn.as_colours,
    "folders": partial(drawn.as_layers, folders=True),
    "suffixes": partial(drawn.as_layers, folders=False),
    "coco-polygons": partial(drawn.as_coco, form="polygons"),
    "coco-runs": partial(drawn.as_coco, form="runs"),
    "coco-compressed": partial(drawn.as_coco, form="compressed"),
    "labelme": drawn.as_labelme,
    "coco-files": drawn.as_coco_files,
    "yolo": drawn.as_yolo,
    "geojson": drawn.as_geojson,
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_labels_come_back(tmp_path, form, seed):
    rng = np.random.default_rng([seed, list(FORMS).index(form)])
    labels = random_labels(rng, images=int(rng.integers(2, 5)))
    drawn.write_images(tmp_path / "images", labels, rng)
    FORMS[form](tmp_path / "masks", labels)
    given = {str(value): drawn.name_of(label) for label, value in LARGE.items()}
    out = tmp_path / "out"
    rows = prepare(tmp_path, out, targets=given if form == "values" else None)
    found = {row.source.removesuffix(".png"): mask_of(out, row) for row in rows}
    assert found.keys() == labels.keys()
    for key, array in labels.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)
    kinds = {row.source: row.kind for row in rows}
    assert kinds["none.png"] == "field"


@pytest.fixture
def smears(tmp_path):
    """Return a folder of ten images of two slides, with masks of ids."""
    rng = np.random.default_rng(0)
    labels = {
        f"slide{1 + n % 5}_{n}": np.pad(np.full((6, 6), 1 + n // 5, np.uint8), 5)
        for n in range(10)
    }
    drawn.write_images(tmp_path / "images", labels, rng)
    drawn.as_values(tmp_path / "masks", labels, IDS)
    return tmp_path


def test_a_dataset_of_folders_is_whole_and_can_be_trained_on(smears):
    out = smears / "out"
    rows = prepare(smears, out, group_by=r"slide\d+")
    assert quick_check(out) == {"all": 10}
    about = read_about(out)
    assert (about["name"], about["groups"]) == ("mine", 5)
    assert sum(about["counts"].values()) == 10
    groups = {row.stem: row.group for row in rows}
    assert groups["slide3_2"] == "slide3"
    for split in ("fold1", "fold5", "development"):
        parts = read_split(out, split)
        assert shared_groups(parts, groups) == []
        assert set(parts.values()) == {"train", "test"}


@pytest.mark.parametrize("group_by", [None, "^[A-Z]+"])
def test_groups_that_are_the_classes_divide_nothing(tmp_path, group_by):
    labels = {
        f"{name}_{n}": np.pad(np.full((6, 6), 1 + label, np.uint8), 5)
        for label, name in enumerate(("BA", "EO", "LY", "MO", "NE"))
        for n in range(5)
    }
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    drawn.as_values(tmp_path / "masks", labels, IDS)
    out = tmp_path / "out"
    rows = prepare(tmp_path, out, group_by=group_by)
    notes = " ".join(read_about(out)["notes"])
    if group_by:
        assert "no folds: every group is a class" in notes
        assert not list((out / "splits").iterdir())
        return
    assert "not used, as it makes a group of every class: a guess: the name" in notes
    assert "groups are not known" in notes
    assert len({row.group for row in rows}) == len(rows)
    parts = read_split(out, "fold1")
    trained = {row.class_name for row in rows if parts[row.stem] == "train"}
    assert len(trained) == 5


def test_a_second_run_does_not_read_what_the_first_one_wrote(smears):
    before = list_files(smears, [".png", ".json"])
    for out in (smears / "data" / "mine", smears / "images" / "prepared"):
        prepare(smears, out)
        assert list_files(smears, [".png", ".json"]) == before
        assert list_files(out, [".json"]) == [out / "dataset.json"]


def test_masks_that_fit_mirrored_are_noted(smears):
    for path in (smears / "masks").iterdir():
        labels = np.zeros((16, 16), np.uint8)
        labels[2:10, 1:6] = np.array(Image.open(path)).max()
        Image.fromarray(labels).save(path)
        image = np.full((16, 16, 3), 220, np.uint8)
        image[np.fliplr(labels) > 0] = 40
        Image.fromarray(image).save(smears / "images" / path.name)
    prepare(smears, smears / "out")
    (note,) = (n for n in read_about(smears / "out")["notes"] if "mirrored" in n)
    assert note.startswith("10 of 10 masks fit their images better mirrored left to")


def test_the_class_of_an_image_is_the_one_with_most_pixels(smears):
    mask = smears / "masks" / "slide1_0.png"
    labels = np.zeros((16, 16), np.uint8)
    labels[:4], labels[8:14], labels[14:] = 2, 5, 255
    Image.fromarray(labels).save(mask)
    rows = {row.stem: row for row in prepare(smears, smears / "out")}
    assert rows["slide1_0"].class_name == "neutrophil"
    assert any("1 cells show more" in n for n in read_about(smears / "out")["notes"])


def test_masks_of_one_value_take_the_class_from_the_name(tmp_path):
    rng = np.random.default_rng(0)
    labels = {
        f"{name}_{n}": np.pad(np.ones((4, 4), np.uint8), 3)
        for name in ("baso", "NEUT")
        for n in range(2)
    }
    drawn.write_images(tmp_path / "images", labels, rng)
    drawn.as_values(tmp_path / "masks", labels, {0: 0, 1: 255})
    rows = prepare(tmp_path, tmp_path / "out")
    assert [r.class_name for r in rows] == ["neutrophil"] * 2 + ["basophil"] * 2
    assert mask_of(tmp_path / "out", rows[0]).max() == 5
    for folder in ("images", "masks"):
        (tmp_path / folder / "baso_1.png").rename(tmp_path / folder / "what_1.png")
    targets = {"0": "background", "255": "by-name"}
    with pytest.raises(DatasetError, match="names none"):
        prepare(tmp_path, tmp_path / "other", targets=targets)


def test_leukocytes_without_a_class_make_a_binary_dataset(smears):
    targets = {"0": "background"} | {str(v): "leukocyte" for v in (1, 2)}
    out = smears / "out"
    rows = prepare(smears, out, targets=targets)
    assert read_about(out)["classes"] == ["background", "leukocyte"]
    assert read_about(out)["counts"] == {"leukocyte": 10}
    assert {row.class_name for row in rows} == {"leukocyte"}
    assert all(set(np.unique(mask_of(out, row))) == {0, 1} for row in rows)
    assert quick_check(out, split="fold1")["test"] > 0


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            {"0": "background", "1": "basophil"},
            r"'2', which is on 180 pixel\(s\) of",
        ),
        (dict.fromkeys("012", "background"), "leaves no leukocyte"),
        (
            {"0": "background", "1": "leukocyte", "2": "monocyte"},
            r"'1' on 180 pixel\(s\).*slide1_0.png.*'2'.*monocyte",
        ),
    ],
)
def test_a_wrong_map_is_refused_with_value_count_and_file(smears, targets, said):
    with pytest.raises(DatasetError, match=said) as error:
        prepare(smears, smears / "out", targets=targets)
    assert "masks" in str(error.value)
    assert not (smears / "out").exists()


def test_images_and_masks_without_a_counterpart_are_named(smears):
    (smears / "masks" / "slide1_0.png").unlink()
    (smears / "images" / "slide2_1.png").unlink()
    with pytest.raises(DatasetError) as error:
        survey_folders(smears)
    assert "slide1_0.png" in str(error.value)
    assert "slide2_1.png" in str(error.value)
    survey = survey_folders(smears, skip_unpaired=True)
    assert len(survey.images) == 8
    assert len(survey.left_out) == 2


def test_images_turned_by_exif_keep_their_masks(tmp_path):
    labels = np.zeros((10, 14), np.uint8)
    labels[2:5, 3:12] = 3
    pixels = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side, shown upright
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(pixels)))
    stored.save(tmp_path / "images" / "a.png", exif=exif)
    drawn.as_values(tmp_path / "masks", {"a": labels}, {0: 0, 3: 3})
    targets = {"0": "background", "3": "lymphocyte"}
    (row,) = prepare(tmp_path, tmp_path / "out", targets=targets)
    with Image.open(tmp_path / "out" / row.image) as image:
        np.testing.assert_array_equal(np.array(image), pixels)
        assert len(image.getexif()) == 0
    np.testing.assert_array_equal(mask_of(tmp_path / "out", row), labels)


def test_cells_are_cut_out_of_fields(tmp_path):
    rng = np.random.default_rng(0)
    field = np.zeros((60, 80), np.uint8)
    field[5:15, 5:15] = 1
    field[30:42, 60:75] = 3
    field[20, 20] = 2  # a speck
    labels = {"f1": field, "f2": np.zeros_like(field), "f3": field[::-1]}
    drawn.write_images(tmp_path / "images", labels, rng)
    drawn.as_values(tmp_path / "masks", labels, IDS)
    out = tmp_path / "out"
    rows = {row.stem: row for row in prepare(tmp_path, out, crop=24)}
    cells = [row for row in rows.values() if row.kind == "cell"]
    assert [(c.stem, c.class_name) for c in cells[:2]] == [
        ("f1_cell1", "basophil"),
        ("f1_cell2", "lymphocyte"),
    ]
    assert {c.group for c in cells} == {"f1", "f3"}
    assert [row.kind for row in rows.values()].count("field") == 3
    for cell in cells:
        place = cell.place
        x, y = int(place.x), int(place.y)
        assert (cell.width, cell.height, place.scale) == (24, 24, 1)
        window = (slice(y, y + 24), slice(x, x + 24))
        np.testing.assert_array_equal(
            mask_of(out, cell), mask_of(out, rows[place.parent])[window]
        )
        whole = np.array(Image.open(out / rows[place.parent].image))
        np.testing.assert_array_equal(
            np.array(Image.open(out / cell.image)), whole[window]
        )
    with pytest.raises(DatasetError, match="do not fit"):
        prepare(tmp_path, tmp_path / "other", crop=61)


def test_cells_of_none_of_the_classes_come_back_as_other(tmp_path):
    labels = np.zeros((40, 40), np.uint8)
    labels[3:15, 4:16], labels[16:22, 16:22] = 7, 5
    for folder, factor in (("images", 20), ("masks", 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(factor * labels).save(tmp_path / folder / "a.png")
        Image.fromarray(factor * (labels // 7 * 7)).save(tmp_path / folder / "b.png")
    targets = {"0": "background", "7": "other", "5": "neutrophil"}
    whole = prepare(tmp_path, tmp_path / "whole", targets=targets)
    assert [row.class_name for row in whole] == ["neutrophil", "other"]
    assert (np.unique(mask_of(tmp_path / "whole", whole[0])) == [0, 5, 255]).all()
    rows = prepare(tmp_path, tmp_path / "cut", targets=targets, crop=24)
    cells = [row for row in rows if row.kind == "cell"]
    assert [row.class_name for row in cells] == ["other", "neutrophil", "other"]
    # In the picture of another cell, a neighbour teaches nothing.
    mask = mask_of(tmp_path / "cut", cells[0])
    assert (mask == np.where(labels, 255, 0)[:24, :24]).all()


def prepared_shapes(folder, *outlines):
    """Return where cells are cut out of an image with these outlines."""
    rng = np.random.default_rng(0)
    drawn.write_images(folder, {"f": np.zeros((40, 40), np.uint8)}, rng)
    shapes = [dict(label="neutrophil", points=points) for points in outlines]
    drawn.write_json(folder / "f.json", dict(shapes=shapes))
    rows = prepare(folder, folder / "out", crop=20)
    return [(r.x, r.y) for r in rows if r.kind == "cell"]


def test_shapes_drawn_one_by_one_are_cells_even_where_they_touch(tmp_path):
    square = [[2, 2], [18, 2], [18, 18], [2, 18]]
    inner = [[5, 5], [9, 5], [9, 9], [5, 9]]
    beside = [[18, 2], [34, 2], [34, 18], [18, 18]]
    cells = prepared_shapes(tmp_path, square, inner, beside)
    assert cells == [("0", "0"), ("16", "0")]


def test_a_cell_in_the_box_of_another_is_cut_out_and_a_nucleus_is_noted(tmp_path):
    slanted = [[2, 2], [6, 2], [34, 30], [34, 34], [30, 34], [2, 6]]
    inner = [[16, 16], [20, 16], [20, 20], [16, 20]]
    corner = [[26, 4], [32, 4], [32, 10], [26, 10]]
    cells = prepared_shapes(tmp_path, slanted, inner, corner)
    assert cells == [("8", "8"), ("19", "0")]
    notes = read_about(tmp_path / "out")["notes"]
    assert "1 areas in a cell of their class are part of it" in notes


def test_crops_of_images_whose_names_meet_are_refused(tmp_path):
    labels = {
        name: np.pad(np.full((6, 6), 2, np.uint8), 5) for name in ("a", "a_cell1")
    }
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    drawn.as_values(tmp_path / "masks", labels, IDS)
    with pytest.raises(DatasetError, match=r"'a_cell1' .* a\.png and a_cell1\.png"):
        prepare(tmp_path, tmp_path / "out", crop=12)


def test_masks_beside_the_images_are_found(tmp_path):
    rng = np.random.default_rng(0)
    labels = {f"c{n}": np.pad(np.full((5, 5), 2, np.uint8), 4) for n in range(2)}
    drawn.write_images(tmp_path / "one", labels, rng)
    drawn.as_palette(tmp_path / "one", labels, {0: 0, 2: 9})
    assert len(prepare(tmp_path / "one", tmp_path / "out1")) == 2
    for key, array in labels.items():
        noise = rng.integers(0, 256, (*array.shape, 3), dtype=np.uint8)
        drawn.save(tmp_path / "two" / f"{key}.jpg", Image.fromarray(noise))
    drawn.as_values(tmp_path / "two", labels, {0: 0, 2: 2})
    rows = prepare(tmp_path / "two", tmp_path / "out2")
    assert [row.source for row in rows] == ["c0.jpg", "c1.jpg"]


RNG = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no images in"),
        ({"a.png": 9, "a.json": "{"}, "cannot be read as JSON"),
        ({"images/a.png": 9, "masks/b.png": 9}, "named as an image"),
        ({"images/a.png": 30, "masks/a.png": 30}, "export masks as PNG"),
        ({"images/a.png": 9, "masks/a.png": 9, "masks/a.json": "{}"}, "which of them"),
    ],
)
def test_a_folder_of_no_known_form_is_refused(tmp_path, files, said):
    for name, content in files.items():
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            key, side = name.removesuffix(".png"), content
            drawn.write_images(tmp_path, {key: np.zeros((side, side))}, RNG)
    with pytest.raises(DatasetError, match=said):
        survey_folders(tmp_path)


def test_a_mask_as_lossy_webp_is_refused(smears):
    for path in (smears / "masks").iterdir():
        mask = Image.fromarray(np.array(Image.open(path)) * 80)
        mask.save(path.with_suffix(".webp"), quality=60)
        path.unlink()
    with pytest.raises(DatasetError, match="a lossy WebP changes values"):
        survey_folders(smears)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_link_to_a_file_outside_is_refused(tmp_path, kind):
    labels = {"a": np.pad(np.full((6, 6), 3, np.uint8), 4)}
    for folder in ("images", "masks", "elsewhere"):
        (tmp_path / folder).mkdir()
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    (picture,) = (tmp_path / "images").iterdir()
    Image.fromarray(labels["a"]).save(tmp_path / "masks" / "a.png")
    assert len(survey_folders(tmp_path / "images", tmp_path / "masks").images) == 1
    place = picture if kind == "image" else tmp_path / "masks" / "a.png"
    place.rename(tmp_path / "elsewhere" / place.name)
    place.symlink_to(tmp_path / "elsewhere" / place.name)
    with pytest.raises(DatasetError, match=r"is a link to .*elsewhere.*outside of"):
        survey_folders(tmp_path / "images", tmp_path / "masks")


def test_a_crop_is_moved_into_the_field_and_says_if_the_cell_is_larger():
    labels = np.zeros((30, 40), np.uint8)
    labels[0:6, 30:40] = 2
    labels[12:30, 0:20] = 4
    annotation = Annotation(labels, ("x",))
    crops = find_crops(annotation, labels, {}, 16)
    assert [(c.label, c.box, c.cut) for c in crops] == [
        (2, (24, 0, 40, 16), False),
        (4, (2, 13, 18, 29), True),
    ]


def test_linked_and_closed_folders_are_refused_and_our_results_left_out(
    tmp_path, monkeypatch
):
    (tmp_path / "run" / "a.png").mkdir(parents=True)
    for name in ("a.png", "run/a.png/overlay.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    (tmp_path / "run" / "predict.json").write_text("{}")
    assert list_files(tmp_path, [".png"]) == [tmp_path / "a.png"]
    link = tmp_path / "linked"
    link.symlink_to(tmp_path.parent)
    with pytest.raises(DatasetError, match=r"linked is a link to .* put the folder"):
        list_files(tmp_path, [".png"])
    link.unlink()

    def closed(path="."):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DatasetError, match="cannot be opened; give yourself"):
        list_files(tmp_path, [".png"])
