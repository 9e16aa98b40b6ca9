"""COCO, LabelMe and QuPath: what they draw, and what has no inside."""

from __future__ import annotations

import base64
import io
import json

import annotated_folders as drawn
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from leuko_mm.datasets.converters.folders.annotation import fill_circle, fill_rings
from leuko_mm.datasets.converters.folders.coco import coco_inside, run_lengths
from leuko_mm.datasets.converters.folders.labelme_qupath import (
    geojson_reader,
    labelme_reader,
)
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.datasets.prepared import DatasetError


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_come_back(seed):
    large = [0, 100_000, 3, 1, 70_000, 2, 1]
    assert run_lengths(drawn.compressed(large).encode()) == large
    rng = np.random.default_rng(seed)
    inside = rng.random(rng.integers(1, 50, 2)) < rng.random()
    counts = drawn.column_runs(inside)
    assert run_lengths(drawn.compressed(counts)) == counts
    segmentation = {"size": list(inside.shape), "counts": counts}
    found = coco_inside(segmentation, *inside.shape).inside
    np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize("text", ["6\x1f", "6Z!", "61X"])
def test_broken_run_lengths_are_refused(text):
    with pytest.raises(ValueError, match="run lengths"):
        run_lengths(text)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        (None, "not a box alone"),
        ([[0, 0, 1, 1]], "three or more"),
        ([[0, 0, 1, 1, 2]], "an even number"),
        ({"size": [3, 4], "counts": [12]}, r"the image has \[3, 3\]"),
        ({"size": [3, 3], "counts": [9, -1, 1]}, "the image has 9"),
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
    path = tmp_path / "coco.json"
    drawn.as_coco(tmp_path, labels, form="polygons")

    def changed(change) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return tmp_path / "images", path, changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("categories"), "no COCO file"),
        (
            lambda c: (c["images"].pop(), c["annotations"].pop()),
            "1 of 2 images have no",
        ),
        (lambda c: c["images"][0].update(file_name="b.png"), "b.png"),
        (lambda c: c["images"][0].update(width=99), "99x14"),
        (
            lambda c: c["annotations"][0].update(category_id=5),
            "names '5', which is not in categories",
        ),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2]]), "annotation 1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(coco, change, said):
    images, path, changed = coco
    changed(change)
    with pytest.raises(DatasetError, match=said):
        survey_folders(images, path)


@pytest.mark.parametrize("name", ["../../a0.png", "/etc/a0.png", "..\\..\\a0.png"])
def test_a_name_that_leads_elsewhere_opens_nothing_there(coco, tmp_path, name):
    images, path, changed = coco
    (tmp_path / "a0.png").write_text("not to be read")
    changed(lambda c: c["images"][0].update(file_name=name))
    found = {image.path for image in survey_folders(images, path).images}
    assert found == {images / "a0.png", images / "a1.png"}


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


@pytest.mark.parametrize("radius", [0, 0.4, 3.3, 8, 40])
@pytest.mark.parametrize("centre", [(7.5, 4), (1.2, 9.9), (-3, 2), (30, 30)])
def test_a_circle_is_looked_for_in_its_box_alone(centre, radius):
    patch = fill_circle(
        "c", centre, (centre[0] + radius, centre[1]), height=10, width=14
    )
    rows, columns = np.mgrid[:10, :14] + 0.5
    inside = np.hypot(columns - centre[0], rows - centre[1]) <= radius
    found = np.zeros_like(inside)
    tall, wide = patch.inside.shape
    found[patch.y : patch.y + tall, patch.x : patch.x + wide] = patch.inside
    np.testing.assert_array_equal(found, inside)
    assert max(tall, wide) <= 2 * radius + 2


@pytest.mark.parametrize(
    "shape",
    [
        dict(label="p", points=[[1, 1]], shape_type="point"),
        dict(label="p", points=[[0, 0], [1, 1]], shape_type="mask", mask="AAAA"),
        dict(label="p", points=[[0, 0], [1, 1]]),
        "p",
    ],
)
def test_a_shape_without_an_inside_is_refused(labelme, shape):
    with pytest.raises(DatasetError, match=r"a\.json"):
        labelme(shape)


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
        [dict(type="Feature", geometry=None, properties=None)],
        dict(type="FeatureCollection", features=[3]),
        dict(type="Topology"),
    ],
)
def test_a_feature_without_an_inside_is_refused(geojson, content):
    with pytest.raises(DatasetError, match=r"a\.geojson"):
        geojson(content)


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
    ],
)
def test_what_is_no_outline_is_refused(ring):
    with pytest.raises(ValueError, match="expected"):
        fill_rings("a", [ring], height=4, width=4)
    with pytest.raises(ValueError, match="without points"):
        fill_rings("a", [], height=4, width=4)
