"""LabelMe and QuPath: what they draw, and what has no inside."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.folders_json import geojson_reader, labelme_reader
from leuko_mm.datasets.prepared import DatasetError

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
