"""Masks and cells drawn on images: colours, edges, numbers, and untouched pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import BINARY_COLOURS, CLASS_COLOURS
from leuko_mm.report.overlay import (
    ERROR_COLOURS,
    DrawnCell,
    cell_overlay,
    colourise,
    overlay,
    reduced,
    save_palette_png,
    truth_against_prediction,
)

RED, GREEN = (255, 0, 0), (0, 255, 0)
BINARY = {"background": (0, 0, 0), "leukocyte": (255, 255, 255)}
EVERY_ID = np.arange(256, dtype=np.uint8).reshape(16, 16)


def has_colour(picture, colour):
    return (picture == np.array(colour, dtype=np.uint8)).all(axis=-1)


def test_colourise_gives_each_class_its_colour():
    painted = colourise(EVERY_ID)
    assert painted.dtype == np.uint8
    assert [tuple(pixel) for pixel in painted[0, :6].tolist()] == list(CLASS_COLOURS)
    assert (painted.reshape(-1, 3)[6:] == 128).all()
    binary = colourise(np.array([[0, 1, 2]]), BINARY_COLOURS)
    assert binary[0].tolist() == [[0, 0, 0], [255, 255, 255], [128, 128, 128]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 256]]), "from 0 to 256"),
        (np.array([[-1, 0]]), "from -1 to 0"),
        (np.zeros((2, 2)), "float64"),
        (np.zeros((1, 2, 2), int), r"\(1, 2, 2\)"),
    ],
)
def test_refuses_what_is_no_label_map(labels, message):
    with pytest.raises(ValueError, match=message):
        colourise(labels)


@pytest.mark.parametrize("labels", [EVERY_ID, np.array([[0, 5], [255, 3]])])
def test_png_keeps_ids_and_shows_colours(tmp_path, labels):
    save_palette_png(tmp_path / "mask.png", labels.astype(np.int64))
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == labels).all()
        assert (np.asarray(picture.convert("RGB")) == colourise(labels)).all()
    with pytest.raises(ValueError, match=r"mask\.jpg"):
        save_palette_png(tmp_path / "mask.jpg", labels)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    """Return a basophil that touches a neutrophil, and an ignored patch."""
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[8:30, 5:25] = 1
    labels[8:30, 25:45] = 5
    labels[35:40, 50:60] = 255
    return labels


def test_background_and_input_are_unchanged(image, labels):
    before = image.copy()
    drawn = overlay(image, labels)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert (drawn[labels == 0] == image[labels == 0]).all()
    assert (image == before).all()


def test_every_region_has_an_edge_in_its_colour(image, labels):
    labels[2, 10:20] = 4  # so thin that it is all edge
    drawn = overlay(image, labels, outline=2)
    edge = {label: has_colour(drawn, CLASS_COLOURS[label]) for label in (1, 4, 5)}
    assert edge[1][8:30, 5:7].all()
    assert edge[1][28:30, 5:25].all()
    # Where two classes meet, each has its own side.
    assert edge[1][8:30, 23:25].all()
    assert edge[5][8:30, 25:27].all()
    assert edge[4][2, 10:20].all()
    for label in edge:
        assert not edge[label][labels != label].any()


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_inside_is_the_weighted_mean(image, labels, alpha):
    drawn = overlay(image, labels, alpha=alpha, outline=0)
    inside = labels == 1
    expected = (1 - alpha) * image[inside] + alpha * np.array([255, 0, 0])
    assert (drawn[inside] == np.rint(expected)).all()


def test_a_light_line_is_beside_the_edge(image, labels):
    drawn = overlay(image, labels, alpha=0, outline=2)
    light = np.rint(0.35 * image[18, 7] + 0.65 * 255)
    assert labels[18, 5] == labels[18, 7] == 1
    assert (drawn[18, 7] == light).all()
    assert (drawn[18, 8] == image[18, 8]).all()


def errors_drawn(image, truth, prediction):
    picture = truth_against_prediction(image // 4, truth, prediction)
    # The squares of the legend are smaller than a quarter of the cell.
    return {
        kind
        for kind, colour in ERROR_COLOURS.items()
        if has_colour(picture, colour).sum() > 1000
    }


def test_kinds_of_errors_have_their_colours(image, labels):
    nothing = np.zeros_like(labels)
    judged = np.where(labels == 255, 0, labels)
    swapped = np.where(judged > 0, 3, 0)
    assert errors_drawn(image, judged, judged) == set()
    assert errors_drawn(image, judged, nothing) == {"missed"}
    assert errors_drawn(image, nothing, judged) == {"false alarm"}
    assert errors_drawn(image, judged, swapped) == {"wrong class"}
    assert errors_drawn(image, np.full_like(labels, 255), judged) == set()


@pytest.fixture
def scene():
    """Return an image with two touching cells of 40 pixels a side."""
    image = np.full((120, 160, 3), 180, np.uint8)
    instances = np.zeros((120, 160), np.int32)
    instances[60:100, 20:60], instances[60:100, 60:100] = 1, 2
    return image, instances


def test_touching_cells_have_outlines_of_their_own(scene):
    cells = [
        DrawnCell(1, RED, (20, 60, 60, 100)),
        DrawnCell(2, GREEN, (60, 60, 100, 100)),
    ]
    drawn = cell_overlay(*scene, cells)
    assert drawn[90, 59].tolist() == list(RED)
    assert drawn[90, 60].tolist() == list(GREEN)
    # The stain inside is seen as it is.
    assert (drawn[88:94, 38:44] == scene[0][88:94, 38:44]).all()


def test_the_outline_of_an_unsure_cell_is_dashed(scene):
    cell = DrawnCell(1, RED, (20, 60, 60, 100), unsure=True)
    edge = cell_overlay(*scene, [cell])[99, 20:60]
    red, white = ((edge == colour).all(-1) for colour in (RED, (255, 255, 255)))
    assert (red | white).all()
    assert 0.3 < red.mean() < 0.7


def test_outside_cells_nothing_changes(scene):
    image, instances = scene
    drawn = cell_overlay(image, instances, [DrawnCell(1, RED, (20, 60, 60, 100))])
    assert (drawn[:40] == image[:40]).all()
    assert (drawn[:, 60:] == image[:, 60:]).all()
    assert (cell_overlay(image, instances, []) == image).all()
    with pytest.raises(ValueError, match="the labels"):
        cell_overlay(image, instances[:50], [])


def test_a_number_stays_inside_the_image(scene):
    image, instances = scene
    instances[:] = 0
    instances[:20, 150:] = 7
    drawn = cell_overlay(image, instances, [DrawnCell(7, RED, (150, 0, 160, 20))])
    assert drawn.shape == image.shape
    assert (drawn == 255).all(-1).any()


def test_a_large_image_is_reduced_with_its_cells(scene):
    image, instances = reduced(*scene, 4)
    assert (image.shape, instances.shape) == ((30, 40, 3), (30, 40))
    assert set(np.unique(instances)) == {0, 1, 2}
