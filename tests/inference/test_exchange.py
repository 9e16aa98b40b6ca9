"""What is written for other programs gives every pixel back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from predicted_fields import ColourPredictor, predicted, write_fields

from leuko_mm.datasets.converters.folders.annotation import fill_rings
from leuko_mm.datasets.converters.folders.class_map import OTHER_LABEL, label_values
from leuko_mm.datasets.converters.folders.coco import coco_inside
from leuko_mm.datasets.converters.folders.survey import survey_folders
from leuko_mm.inference.exchange import geojson_names, inside_box, pixel_rings
from leuko_mm.inference.outputs import run_length_text


def shapes():
    """Return odd shapes: full, a ring, touching by corners, noise of any density."""
    ring = np.ones((9, 7), bool)
    ring[2:5, 2:5] = False
    corners = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
    holes = np.ones((6, 6), bool)
    holes[1:3, 1:3] = holes[3:5, 3:5] = False
    noise = np.random.default_rng(3)
    some = [noise.random((12, 9)) < share for share in (0.2, 0.5, 0.8)]
    return [np.ones((1, 1), bool), np.ones((5, 8), bool), ring, corners, holes, *some]


@pytest.mark.parametrize("inside", shapes(), ids=range(8))
@pytest.mark.parametrize("place", [(0, 0), (4, 3), (-1, -1)])
def test_run_lengths_are_those_pixels(inside, place):
    height, width = 20, 17
    h, w = inside.shape
    x, y = (width - w, height - h) if place == (-1, -1) else place
    text = run_length_text(inside, x, y, height=height, width=width)
    whole = np.zeros((height, width), bool)
    whole[y : y + h, x : x + w] = inside
    segmentation = {"size": [height, width], "counts": text}
    assert (coco_inside(segmentation, height, width).inside == whole).all()
    box = [x, y, x + w, y + h]
    assert (inside_box(dict(box=box, runs=text), height) == inside).all()


@pytest.mark.parametrize("inside", shapes(), ids=range(8))
def test_rings_are_those_pixels(inside):
    painted = np.zeros((20, 20), int)
    for rings in pixel_rings(inside, 5, 4):
        patch = fill_rings("a", rings, height=20, width=20)
        h, w = patch.inside.shape
        painted[patch.y : patch.y + h, patch.x : patch.x + w] += patch.inside
    wanted = np.zeros((20, 20), int)
    wanted[4 : 4 + inside.shape[0], 5 : 5 + inside.shape[1]] = inside
    assert (painted == wanted).all()


def test_no_two_images_share_a_file_for_qupath():
    names = ["a.png", "a.jpg", "a.png.jpg", "b.tif", "c/b.tif"]
    found = geojson_names([dict(image=name) for name in names])
    assert found == [
        *("a.png.geojson", "a.jpg.geojson", "a.png.jpg.geojson"),
        *("b.geojson", "c/b.geojson"),
    ]


def test_a_hole_follows_its_outer_ring():
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    ((outer, hole),) = pixel_rings(ring)
    assert outer == [(0, 0), (5, 0), (5, 5), (0, 5)]
    assert sorted(hole) == [(2, 2), (2, 3), (3, 2), (3, 3)]


@pytest.mark.parametrize("form", ["coco.json", "geojson"])
def test_leuko_prepare_reads_the_same_masks(tmp_path, form):
    write_fields(tmp_path / "in", ["a.png", "b/größe 1.png"], kinds=(1, 3, 5))
    predictor = ColourPredictor(accept=0.86, others=(2,))
    outcome = predicted(tmp_path, predictor=predictor, coco=True, geojson=True)
    survey = survey_folders(tmp_path / "in", tmp_path / "out" / form)
    # The names are the classes' own: no map need be given.
    assert all(target == key for key, target in survey.guess.items())
    assert [image.relative for image in survey.images] == ["a.png", "b/größe 1.png"]
    for image, record in zip(survey.images, outcome.records, strict=True):
        place = tmp_path / "out" / "images" / record["image"] / "labels.png"
        labels = np.array(Image.open(place))
        annotation = survey.annotations.readers[image.name](*labels.shape)
        values = label_values(survey.guess, image.name, annotation.pixels(), form)
        own = annotation.labels(values)
        assert (np.where(own == OTHER_LABEL, 255, own) == labels).all()
        assert (own == OTHER_LABEL).sum() == (labels == 255).sum() > 0
        assert len(annotation.instances) == len(record["cells"]) == 3
