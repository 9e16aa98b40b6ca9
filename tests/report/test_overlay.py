"""Masks and cells drawn on images: colours, edges, numbers, and untouched pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import BINARY_COLOURS, CLASS_COLOURS
from leuko_mm.report.overlay import (
    CLASS_LEGEND,
    ERROR_COLOURS,
    PANEL_WIDTH,
    DrawnCell,
    cell_overlay,
    colourise,
    overlay,
    reduced,
    resized,
    save_palette_png,
    truth_against_prediction,
)

RED, GREEN = (255, 0, 0), (0, 255, 0)


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
    # 22 % of the colour over the image.
    assert drawn[90, 40].tolist() == [196, 140, 140]


def test_far_from_cells_nothing_changes(scene):
    image, instances = scene
    drawn = cell_overlay(image, instances, [DrawnCell(1, RED, (20, 60, 60, 100))])
    assert (drawn[:40] == image[:40]).all()
    assert (drawn[:, 60:] == image[:, 60:]).all()
    assert (cell_overlay(image, instances, []) == image).all()


def test_a_number_stays_inside_the_image(scene):
    image, instances = scene
    instances[:] = 0
    instances[:20, 150:] = 7
    drawn = cell_overlay(image, instances, [DrawnCell(7, RED, (150, 0, 160, 20))])
    assert drawn.shape == image.shape
    assert (drawn == 255).all(-1).any()


def test_resizing_keeps_ids_and_at_least_a_pixel():
    labels = np.array([[0, 5], [255, 0]], np.uint8)
    large = resized(labels, 3)
    assert (large == labels.repeat(3, axis=0).repeat(3, axis=1)).all()
    assert resized(np.zeros((1, 100, 3), np.uint8), 0.1).shape == (1, 10, 3)


def test_a_large_image_is_reduced_with_its_cells(scene):
    image, instances = reduced(*scene, 4)
    assert (image.shape, instances.shape) == ((30, 40, 3), (30, 40))
    assert set(np.unique(instances)) == {0, 1, 2}


def test_what_does_not_fit_is_refused(scene):
    image, instances = scene
    with pytest.raises(ValueError, match="the labels"):
        cell_overlay(image, instances[:50], [])


BINARY = {"background": (0, 0, 0), "leukocyte": (255, 255, 255)}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def labels():
    """A basophil that touches a neutrophil, and an ignored patch."""
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[8:30, 5:25] = 1
    labels[8:30, 25:45] = 5
    labels[35:40, 50:60] = 255
    return labels


def has_colour(picture, colour):
    return (picture == np.array(colour, dtype=np.uint8)).all(axis=-1)


def test_background_is_untouched_and_the_input_too(image, labels):
    before = image.copy()
    drawn = overlay(image, labels)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    background = labels == 0
    assert (drawn[background] == image[background]).all()
    assert (image == before).all()


def test_every_region_has_an_edge_in_its_colour(image, labels):
    drawn = overlay(image, labels, outline=2)
    edge = {label: has_colour(drawn, CLASS_COLOURS[label]) for label in (1, 5)}
    assert edge[1][8:30, 5:7].all()
    assert edge[1][28:30, 5:25].all()
    # Where two classes meet, each keeps its own side.
    assert edge[1][8:30, 23:25].all()
    assert edge[5][8:30, 25:27].all()
    for label in (1, 5):
        assert not edge[label][labels != label].any()


def test_blend_inside_is_the_weighted_mean(image, labels):
    drawn = overlay(image, labels, alpha=0.25, outline=0)
    inside = labels == 1
    expected = 0.75 * image[inside] + 0.25 * np.array([255, 0, 0])
    assert (drawn[inside] == np.rint(expected)).all()


def test_the_light_line_stands_beside_the_edge(image, labels):
    drawn = overlay(image, labels, alpha=0, outline=2)
    light = np.rint(0.35 * image[18, 7] + 0.65 * 255)
    assert labels[18, 5] == labels[18, 7] == 1
    assert (drawn[18, 7] == light).all()
    assert (drawn[18, 8] == image[18, 8]).all()


def test_alpha_limits(image, labels):
    assert (overlay(image, labels, alpha=0, outline=0) == image).all()
    assert has_colour(
        overlay(image, labels, alpha=1, outline=0)[labels == 5], CLASS_COLOURS[5]
    ).all()


def test_thin_regions_are_all_edge(image):
    labels = np.zeros((40, 60), np.uint8)
    labels[10, 10:20] = 4
    drawn = overlay(image, labels)
    assert has_colour(drawn[10, 10:20], CLASS_COLOURS[4]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"outline": -1}, "outline -1"),
    ],
)
def test_overlay_refuses_wrong_numbers(image, labels, change, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, labels, **change)


def test_overlay_refuses_arrays_that_do_not_fit(image, labels):
    with pytest.raises(ValueError, match=r"\(40, 60, 3\)"):
        overlay(image, labels[:-1])
    with pytest.raises(ValueError, match="float64"):
        overlay(image / 255, labels)


def test_row_has_a_panel_each_and_stays_white_between(image, labels):
    four = truth_against_prediction(image, labels, labels)
    five = truth_against_prediction(image, labels, labels, enhanced=image)
    assert four.dtype == np.uint8
    assert five.shape[1] - four.shape[1] > PANEL_WIDTH
    assert five.shape[0] == four.shape[0]
    for picture in (four, five):
        assert (picture[:, :10] == 255).all()
        assert (picture[:5] == 255).all()


def test_row_names_the_classes_in_their_colours(image):
    nothing = np.zeros((40, 60), np.uint8)
    picture = truth_against_prediction(image * 0 + 90, nothing, nothing)
    for name, colour in CLASS_LEGEND.items():
        drawn = has_colour(picture, colour).any()
        assert drawn == (name != "background"), name


def errors_drawn(image, truth, prediction, **kwargs):
    picture = truth_against_prediction(image // 4, truth, prediction, **kwargs)
    # The key of the legend is small; a quarter of the cell is not.
    return {
        kind
        for kind, colour in ERROR_COLOURS.items()
        if has_colour(picture, colour).sum() > 1000
    }


def test_errors_are_told_apart(image, labels):
    nothing = np.zeros_like(labels)
    judged = np.where(labels == 255, 0, labels)
    swapped = np.where(judged > 0, 3, 0)
    assert errors_drawn(image, judged, judged) == set()
    assert errors_drawn(image, judged, nothing) == {"missed"}
    assert errors_drawn(image, nothing, judged) == {"false alarm"}
    assert errors_drawn(image, judged, swapped) == {"wrong class"}


def test_ignored_truth_is_no_error(image):
    ignored = np.full((40, 60), 255, np.uint8)
    assert errors_drawn(image, ignored, np.ones_like(ignored)) == set()


def test_two_classes_have_no_wrong_class(image):
    masks = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    picture = truth_against_prediction(image * 0, *masks, legend=BINARY)
    assert not has_colour(picture, ERROR_COLOURS["wrong class"]).any()
    assert has_colour(picture, ERROR_COLOURS["missed"]).any()


def test_a_title_takes_a_line(image, labels):
    plain = truth_against_prediction(image, labels, labels)
    titled = truth_against_prediction(image, labels, labels, title="mosaic 1")
    assert titled.shape[0] > plain.shape[0]


def test_row_refuses_what_does_not_fit(image, labels):
    with pytest.raises(ValueError, match="expected"):
        truth_against_prediction(image, labels, labels[:, :-1])
    with pytest.raises(ValueError, match="expected"):
        truth_against_prediction(image, labels, labels, enhanced=image[:-1])


def every_id():
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_colourise_gives_each_class_its_colour():
    painted = colourise(every_id())
    assert painted.shape == (16, 16, 3)
    assert painted.dtype == np.uint8
    assert [tuple(pixel) for pixel in painted[0, :6].tolist()] == list(CLASS_COLOURS)
    assert (painted.reshape(-1, 3)[6:] == 128).all()


def test_colourise_takes_the_binary_colours():
    painted = colourise(np.array([[0, 1, 2]]), BINARY_COLOURS)
    assert painted[0].tolist() == [[0, 0, 0], [255, 255, 255], [128, 128, 128]]


def test_png_keeps_ids_and_shows_colours(tmp_path):
    path = tmp_path / "mask.png"
    labels = every_id()
    save_palette_png(path, labels.astype(np.int64))
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == labels).all()
        assert (np.asarray(picture.convert("RGB")) == colourise(labels)).all()


def test_png_of_few_ids_is_not_renumbered(tmp_path):
    path = tmp_path / "mask.png"
    labels = np.array([[0, 5], [255, 3]], dtype=np.uint8)
    save_palette_png(path, labels)
    with Image.open(path) as picture:
        assert (np.asarray(picture) == labels).all()


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


def test_refuses_formats_that_change_ids(tmp_path):
    with pytest.raises(ValueError, match=r"mask\.jpg"):
        save_palette_png(tmp_path / "mask.jpg", every_id())
