"""Every form of annotation comes back as the labels that were written.

COCO's polygons and run lengths, and what is wrong with a file.

LabelMe and QuPath: what they draw, and what has no inside.

The class map: what is guessed, what is given, and what groups are guessed.

Outlines become the pixels whose middles they hold.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import annotated_folders as drawn
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    FoundImage,
    fill_circle,
    fill_rings,
    guess_map,
)
from leuko_mm.datasets.converters.folders.class_map import map_text, parse_map
from leuko_mm.datasets.converters.folders.coco import (
    coco_inside,
    from_runs,
    run_lengths,
)
from leuko_mm.datasets.converters.folders.convert import (
    FoldersRequest,
    find_crops,
    prepare_folders,
)
from leuko_mm.datasets.converters.folders.labelme_qupath import geojson_reader, labelme_reader
from leuko_mm.datasets.converters.folders.pairs import (
    divide_beside,
    group_images,
    match_masks,
)
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError, read_about, read_index, read_split
from leuko_mm.datasets.splits import shared_groups

VALUES = (0, 1, 2, 3, 4, 5, 255)


def random_labels(rng, *, images=4, values=VALUES, folders=("", "a/b/")) -> dict:
    """Return blocks of random labels, of random sizes, some without any cell."""
    labels = {}
    for number in range(images):
        height, width = rng.integers(8, 40, 2)
        coarse = rng.choice(values, (5, 5), p=_mostly_background(len(values)))
        rows = np.sort(rng.integers(0, 5, height))
        columns = np.sort(rng.integers(0, 5, width))
        key = f"{folders[number % len(folders)]}cell {number}"
        labels[key] = coarse[np.ix_(rows, columns)].astype(np.uint8)
    labels[key][2:5, 3:6] = 4
    labels["none"] = np.zeros((9, 8), np.uint8)
    return labels


def _mostly_background(count: int) -> np.ndarray:
    return np.array([0.4, *[0.6 / (count - 1)] * (count - 1)])


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


def shuffled_values(rng, top: int) -> dict[int, int]:
    """Return a value of its own for every label."""
    drawn_values = rng.choice(top, len(VALUES), replace=False).tolist()
    return dict(zip(VALUES, drawn_values, strict=True))


def write_values(tmp, labels, rng):
    values = shuffled_values(rng, 60_000 if rng.random() < 0.5 else 256)
    drawn.as_values(tmp / "masks", labels, values)
    return {str(value): drawn.name_of(label) for label, value in values.items()}


def write_palette(tmp, labels, rng):
    drawn.as_palette(tmp / "masks", labels, shuffled_values(rng, 256))


def write_coco(form):
    def write(tmp, labels, rng):
        drawn.as_coco(tmp / "masks" / "coco.json", labels, form=form)

    return write


FORMS = {
    "values": write_values,
    "ids": lambda tmp, labels, rng: drawn.as_values(
        tmp / "masks", labels, {v: v for v in VALUES}
    ),
    "palette": write_palette,
    "colours": lambda tmp, labels, rng: drawn.as_colours(tmp / "masks", labels),
    "folders": lambda tmp, labels, rng: drawn.as_layers(
        tmp / "masks", labels, folders=True
    ),
    "suffixes": lambda tmp, labels, rng: drawn.as_layers(
        tmp / "masks", labels, folders=False
    ),
    "coco-polygons": write_coco("polygons"),
    "coco-runs": write_coco("runs"),
    "coco-compressed": write_coco("compressed"),
    "labelme": lambda tmp, labels, rng: drawn.as_labelme(tmp / "masks", labels),
    "geojson": lambda tmp, labels, rng: drawn.as_geojson(tmp / "masks", labels),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_labels_come_back(tmp_path, form, seed):
    rng = np.random.default_rng([seed, list(FORMS).index(form)])
    labels = random_labels(rng, images=int(rng.integers(2, 5)))
    drawn.write_images(tmp_path / "images", labels, rng)
    targets = FORMS[form](tmp_path, labels, rng)
    out = tmp_path / "out"
    rows = prepare(tmp_path, out, targets=targets)
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
    drawn.as_values(tmp_path / "masks", labels, {v: v for v in VALUES})
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


def test_a_second_run_changes_nothing_and_other_content_needs_force(smears):
    out = smears / "out"
    survey = survey_folders(smears)
    grouping = group_images(survey.images, None)
    request = FoldersRequest("mine", survey.guess, grouping)
    assert prepare_folders(survey, out, request)
    before = (out / "index.csv").stat().st_mtime_ns
    assert not prepare_folders(survey, out, request)
    assert (out / "index.csv").stat().st_mtime_ns == before
    other = FoldersRequest("mine", {**survey.guess, "2": "background"}, grouping)
    with pytest.raises(DatasetError, match="--force"):
        prepare_folders(survey, out, other)
    assert prepare_folders(survey, out, other, force=True)


def test_an_image_that_breaks_half_way_leaves_nothing(smears):
    path = sorted((smears / "images").iterdir())[7]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=path.name):
        prepare(smears, smears / "out")
    assert sorted(p.name for p in smears.iterdir()) == ["images", "masks"]


def test_plain_files_are_copied_and_odd_ones_written_as_png(smears):
    images = sorted((smears / "images").iterdir())
    wide = np.random.default_rng(1).integers(5000, 65000, (16, 16), dtype=np.uint16)
    Image.fromarray(wide).save(images[0])
    content = images[1].read_bytes()
    rows = prepare(smears, smears / "out")
    with Image.open(smears / "out" / rows[0].image) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.array(image)[..., 0], np.rint(wide / 257))
    assert (smears / "out" / rows[1].image).read_bytes() == content


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
            r"'2', which stands on 180 pixel\(s\) of",
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


def test_a_mask_of_another_size_is_refused(smears):
    Image.fromarray(np.zeros((16, 17), np.uint8)).save(smears / "masks/slide1_0.png")
    with pytest.raises(DatasetError, match=r"slide1_0.png has 17x16.*16x16"):
        survey_folders(smears)


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
    drawn.as_values(tmp_path / "masks", labels, {v: v for v in VALUES})
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


def test_shapes_drawn_one_by_one_are_cells_even_where_they_touch(tmp_path):
    rng = np.random.default_rng(0)
    drawn.write_images(tmp_path, {"f": np.zeros((40, 40), np.uint8)}, rng)
    square = [[2, 2], [18, 2], [18, 18], [2, 18]]
    inner = [[5, 5], [9, 5], [9, 9], [5, 9]]
    beside = [[18, 2], [34, 2], [34, 18], [18, 18]]
    shapes = [
        dict(label="neutrophil", points=points) for points in (square, inner, beside)
    ]
    drawn._write(tmp_path / "f.json", dict(shapes=shapes))
    rows = prepare(tmp_path, tmp_path / "out", crop=20)
    assert [(r.x, r.y) for r in rows if r.kind == "cell"] == [("0", "0"), ("16", "0")]


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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: None, "no images in"),
        (lambda f: (f / "notes.txt").write_text("x"), r"found \.txt"),
        (
            lambda f: drawn.write_images(f, {"a": np.zeros((9, 9))}, RNG),
            "no annotations",
        ),
        (
            lambda f: (
                drawn.write_images(f, {"a": np.zeros((9, 9))}, RNG),
                (f / "a.json").write_text("{}"),
            ),
            "of no known form",
        ),
        (
            lambda f: (
                drawn.write_images(f, {"a": np.zeros((9, 9))}, RNG),
                (f / "a.json").write_text("{"),
            ),
            "cannot be read as JSON",
        ),
        (
            lambda f: (
                drawn.write_images(f / "images", {"a": np.zeros((9, 9))}, RNG),
                drawn.write_images(f / "masks", {"b": np.zeros((9, 9))}, RNG),
            ),
            "named as an image",
        ),
        (
            lambda f: (
                drawn.write_images(f / "images", {"a": np.zeros((30, 30))}, RNG),
                drawn.write_images(f / "masks", {"a": np.zeros((30, 30))}, RNG),
            ),
            "export masks as PNG",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(DatasetError, match=said):
        survey_folders(tmp_path)


RNG = np.random.default_rng(3)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_come_back(seed):
    rng = np.random.default_rng(seed)
    inside = rng.random(rng.integers(1, 50, 2)) < rng.random()
    counts = drawn.column_runs(inside)
    assert run_lengths(drawn.compressed(counts)) == counts
    np.testing.assert_array_equal(from_runs(counts, *inside.shape), inside)


def test_large_and_shrinking_runs_come_back():
    counts = [0, 100_000, 3, 1, 70_000, 2, 1]
    assert run_lengths(drawn.compressed(counts)) == counts
    assert run_lengths(drawn.compressed(counts).encode()) == counts


@pytest.mark.parametrize("text", ["6\x1f", "6Z!", "61X"])
def test_broken_run_lengths_are_refused(text):
    with pytest.raises(ValueError, match="run lengths"):
        run_lengths(text)


@pytest.mark.parametrize("counts", [[1, 2], [9, -1, 1], [3, 7]])
def test_run_lengths_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="the image has 9"):
        from_runs(counts, 3, 3)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (None, "not a box alone"),
        ([], "not a box alone"),
        ([[0, 0, 1, 1]], "three or more"),
        ([[0, 0, 1, 1, 2]], "strict|longer|shorter"),
        ({"size": [3, 4], "counts": [12]}, "which has 3x3"),
    ],
)
def test_a_segmentation_without_an_inside_is_refused(segmentation, said):
    with pytest.raises(ValueError, match=said):
        coco_inside(segmentation, 3, 3)


def test_several_polygons_are_one_thing():
    left, right = [0, 0, 1, 0, 1, 2, 0, 2], [2, 0, 3, 0, 3, 2, 2, 2]
    inside = coco_inside([left, right], 2, 3).inside
    assert inside.tolist() == [[True, False, True]] * 2


@pytest.fixture
def coco(tmp_path):
    """Return the folder of two images and a function that changes its COCO file."""
    labels = {f"a{n}": np.pad(np.full((6, 6), 3, np.uint8), 4) for n in range(2)}
    drawn.write_images(tmp_path / "images", labels, np.random.default_rng(0))
    path = tmp_path / "all.json"
    drawn.as_coco(path, labels, form="polygons")

    def changed(change) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return tmp_path / "images", path, changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("categories"), "no COCO file"),
        (lambda c: c["images"].append(c["images"][0]), "twice"),
        (lambda c: c["images"].pop(), "1 of 2 images have no annotation"),
        (lambda c: c["images"][0].update(file_name="b.png"), "b.png"),
        (lambda c: c["images"][0].update(width=99), "99x14"),
        (lambda c: c["annotations"][0].update(category_id=5), "an entry lacks 5"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2]]), "annotation 1"),
        (lambda c: c["annotations"][0].pop("image_id"), "image_id"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(coco, change, said):
    images, path, changed = coco
    changed(change)
    with pytest.raises(DatasetError, match=said):
        survey_folders(images, path)


def test_images_are_found_by_name_alone(coco):
    images, path, changed = coco
    changed(lambda c: c["images"][0].update(file_name="D:\\export\\a0.png"))
    assert len(survey_folders(images, path).images) == 2


@pytest.mark.parametrize("name", ["../../a0.png", "/etc/a0.png", "..\\..\\a0.png"])
def test_a_name_that_leads_elsewhere_opens_nothing_there(coco, tmp_path, name):
    images, path, changed = coco
    (tmp_path / "a0.png").write_text("not to be read")
    changed(lambda c: c["images"][0].update(file_name=name))
    found = {image.path for image in survey_folders(images, path).images}
    assert found == {images / "a0.png", images / "a1.png"}


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


def test_a_listed_image_without_annotations_has_none(coco):
    images, path, changed = coco
    changed(lambda c: c["annotations"].pop())
    survey = survey_folders(images, path)
    assert (len(survey.images), survey.uses["lymphocyte"].files) == (2, 1)


SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


@pytest.fixture
def labelme(tmp_path):
    """Return a function that reads LabelMe shapes on an image of 10x12 pixels."""

    def read(*shapes, **more):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(dict(shapes=shapes, **more)))
        return labelme_reader(path)(10, 12)

    return read


@pytest.fixture
def geojson(tmp_path):
    """Return a function that reads GeoJSON on an image of 10x12 pixels."""

    def read(content):
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps(content))
        return geojson_reader(path)(10, 12)

    return read


def feature(name=None, kind="Polygon", coordinates=(SQUARE,), **properties) -> dict:
    if name is not None:
        properties["classification"] = dict(name=name)
    geometry = dict(type=kind, coordinates=coordinates)
    return dict(type="Feature", geometry=geometry, properties=properties)


def test_the_last_shape_lies_on_top(labelme):
    later = [[2, 2], [3, 2], [3, 3], [2, 3]]
    annotation = labelme(
        dict(label="a", points=SQUARE),
        dict(label="b", points=later, shape_type="polygon"),
    )
    assert annotation.pixels() == {"a": 8, "b": 1}
    assert annotation.instances == (("a", (1, 1, 4, 4)), ("b", (2, 2, 3, 3)))


def test_circles_rectangles_and_masks_are_shapes(labelme):
    stored = io.BytesIO()
    Image.fromarray(np.eye(3, dtype=np.uint8) * 255).save(stored, "PNG")
    text = base64.b64encode(stored.getvalue()).decode()
    annotation = labelme(
        dict(label="r", points=[[0, 0], [2, 3]], shape_type="rectangle"),
        dict(label="c", points=[[8.5, 3.5], [8.5, 4.6]], shape_type="circle"),
        dict(label="m", points=[[1, 6], [4, 9]], shape_type="mask", mask=text),
    )
    assert annotation.pixels() == {"r": 6, "c": 5, "m": 3}
    assert annotation.codes[7, 2] == 3


@pytest.mark.parametrize(
    "shape",
    [
        dict(label="p", points=[[1, 1]], shape_type="point"),
        dict(label="p", points=SQUARE, shape_type="linestrip"),
        dict(label="p", points=[[1, 1]], shape_type="rectangle"),
        dict(label="p", points=[[0, 0], [1, 1]], shape_type="mask", mask="AAAA"),
        dict(label="p", points=[[0, 0], [1, 1]]),
        "p",
    ],
)
def test_a_shape_without_an_inside_is_refused(labelme, shape):
    with pytest.raises(DatasetError, match=r"a\.json"):
        labelme(shape)


def test_a_drawing_of_another_size_is_refused(labelme):
    with pytest.raises(DatasetError, match="13x10 pixels, but its image has 12x10"):
        labelme(imageHeight=10, imageWidth=13)


def test_features_come_in_a_collection_a_list_or_alone(geojson):
    one = feature("Eosinophil")
    for content in (dict(type="FeatureCollection", features=[one]), [one], one):
        assert geojson(content).pixels() == {"Eosinophil": 9}
    assert geojson([]).pixels() == {}


def test_holes_parts_and_names_of_qupath(geojson):
    hole = [[2, 2], [3, 2], [3, 3], [2, 3]]
    beside = [[6, 6], [8, 6], [8, 8], [6, 8]]
    annotation = geojson(
        [
            feature("a", coordinates=[SQUARE, hole]),
            feature(None, "MultiPolygon", [[beside], [[[9, 9], [10, 9], [10, 10]]]]),
        ]
    )
    assert annotation.pixels()["a"] == 8
    assert annotation.instances[1] == ("unclassified", (6, 6, 10, 10))
    named = feature(classification=dict(names=["WBC", "mono"]))
    assert geojson([named]).keys == ("WBC: mono",)


@pytest.mark.parametrize(
    "content",
    [
        [feature("a", "Point", [1, 1])],
        [feature("a", "LineString", SQUARE)],
        [dict(type="Feature", geometry=None, properties=None)],
        [feature("a", "Polygon", [[1, 2]])],
        dict(type="FeatureCollection", features=[3]),
        dict(type="Topology"),
    ],
)
def test_a_feature_without_an_inside_is_refused(geojson, content):
    with pytest.raises(DatasetError, match=r"a\.geojson"):
        geojson(content)


NAMES = ["cell_1.png", "cell_2.png"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("0 1 2 5", "background basophil eosinophil neutrophil"),
        ("0 3 255", "background lymphocyte ignore"),
        ("0 255", "background leukocyte"),
        ("0 1", "background leukocyte"),
        ("0 4", "background monocyte"),
        ("0 7 9", "background ? ?"),
        ("0 100", "background leukocyte"),
        ("#000000 #ffffff", "background leukocyte"),
        ("#000000 #ff0000 #0000fe", "background basophil monocyte"),
        ("#000000 #808080 #800080", "background ignore neutrophil"),
        ("#000000 #ff0000 #fe0000", "background ? ?"),
        ("#000000 #123456", "background ?"),
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
    import shlex

    targets = {"0": "background", "a, b=c": "monocyte", "#ff0000": "ignore"}
    assert parse_map(shlex.split(map_text(targets))[0]) == targets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "expected value=class"),
        ("=baso", "expected value=class"),
        ("0=bg,0=baso", "twice"),
        ("1=basofil", "unknown class 'basofil'.*by-name"),
        ("1=?", "unknown class"),
    ],
)
def test_a_map_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(DatasetError, match=said):
        parse_map(text)


def images(*keys) -> list[FoundImage]:
    return [
        FoundImage(Path(f"x/{key}.png"), f"{key}.png", key, key.replace("/", "-"))
        for key in keys
    ]


def test_groups_are_guessed_from_folders_of_slides_but_not_of_classes():
    slides = group_images(images("s1/a", "s1/b", "s2/a"), None)
    assert list(slides.groups.values()) == ["s1", "s1", "s2"]
    assert slides.known
    classes = group_images(images("baso/a", "baso/b", "mono/a"), None)
    assert not classes.known
    assert classes.number == 3
    nested = group_images(images("baso/s1/a", "baso/s1/b", "mono/s1/a"), None)
    assert nested.groups["baso-s1-b"] == "baso-s1"


def test_groups_are_guessed_from_numbers_at_the_end_of_names():
    many = group_images(
        images(*(f"P{p}_{n}" for p in range(6) for n in range(3))), None
    )
    assert many.number == 6
    assert many.groups["P3_1"] == "P3"
    same = group_images(images(*(f"cell_{n}" for n in range(9))), None)
    assert (same.known, same.number) == (False, 9)


def test_groups_by_a_pattern_a_folder_or_a_table(tmp_path):
    some = images("d/p1_a", "d/p1_b", "e/p2_a")
    assert group_images(some, r"p\d").number == 2
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
        ("none.csv", "cannot be read"),
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
    found, unused = match_masks(root, [root / f"{m}.png" for m in masks], some)
    assert {k: list(v) for k, v in found.items()} == {
        "a_1": [""],
        "a_1_2": ["eos", "mono"],
        "s/b": [""],
    }
    assert unused == [str(root / "other/c.png")]
    with pytest.raises(DatasetError, match="both masks of 'a_1'"):
        match_masks(root, [root / "a_1.png", root / "a_1_mask.png"], some)


def test_images_without_masks_beside_them_are_all_images():
    paths = [Path("a.png"), Path("b.jpg"), Path("c_mask.png")]
    assert divide_beside(paths) == (paths, [])


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


def filled(rings, height, width) -> np.ndarray:
    patch = fill_rings("a", rings, height=height, width=width)
    whole = np.zeros((height, width), bool)
    rows, columns = patch.inside.shape
    whole[patch.y : patch.y + rows, patch.x : patch.x + columns] = patch.inside
    return whole


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_holds_what_matplotlib_says_it_holds(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2).tolist()
    # A star around a point, and partly outside the image.
    angles = np.sort(rng.random(rng.integers(3, 12))) * 2 * np.pi
    radius = rng.uniform(2, 30, angles.size)
    centre = rng.uniform(0, [width, height])
    ring = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    rows, columns = np.mgrid[:height, :width] + 0.5
    middles = np.stack([columns.ravel(), rows.ravel()], 1)
    expected = Outline([*ring, ring[0]], closed=True).contains_points(middles)
    np.testing.assert_array_equal(
        filled([ring], height, width), expected.reshape(height, width)
    )


def test_a_ring_in_a_ring_is_a_hole():
    outer = [(0, 0), (6, 0), (6, 6), (0, 6)]
    inner = [(2, 2), (4, 2), (4, 4), (2, 4)]
    inside = filled([outer, inner], 6, 6)
    assert inside.sum() == 32
    assert not inside[2:4, 2:4].any()


def test_a_ring_may_name_its_first_point_again():
    square = [(1, 1), (3, 1), (3, 3), (1, 3)]
    again = filled([[*square, square[0]]], 5, 5)
    np.testing.assert_array_equal(filled([square], 5, 5), again)


def test_what_lies_far_outside_costs_and_gives_nothing():
    far = [(1e12, 1e12), (2e12, 1e12), (2e12, 2e12)]
    assert filled([far], 4, 4).sum() == 0
    around = [(-1e12, -1e12), (1e12, -1e12), (1e12, 1e12), (-1e12, 1e12)]
    assert filled([around], 4, 5).all()


@pytest.mark.parametrize(
    "ring",
    [
        [(0, 0), (1, 1)],
        [],
        [(0, 0), (1, 0), (float("nan"), 1)],
        [(0, 0), (1, 0), (1, "x")],
        [(0, 0), (1, 0), (1,)],
        [1, 2, 3],
    ],
)
def test_what_is_no_outline_is_refused(ring):
    with pytest.raises(ValueError, match="expected"):
        fill_rings("a", [ring], height=4, width=4)
    with pytest.raises(ValueError, match="without points"):
        fill_rings("a", [], height=4, width=4)


def test_a_circle_has_the_area_of_a_circle():
    patch = fill_circle("a", (20, 20), (20, 5.2), (40, 40))
    assert patch.inside.sum() == pytest.approx(np.pi * 14.8**2, rel=0.01)
