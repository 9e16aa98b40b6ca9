"""Cells drawn one by one: colours, outlines, numbers, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.report.cell_overlay import DrawnCell, cell_overlay, reduced

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


def test_a_large_image_is_reduced_with_its_cells(scene):
    image, instances = reduced(*scene, 4)
    assert (image.shape, instances.shape) == ((30, 40, 3), (30, 40))
    assert set(np.unique(instances)) == {0, 1, 2}


def test_what_does_not_fit_is_refused(scene):
    image, instances = scene
    with pytest.raises(ValueError, match="the instances"):
        cell_overlay(image, instances[:50], [])
