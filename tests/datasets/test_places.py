"""A cell's place: columns and back, points, and masks put back into the field."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leuko_mm.classes import IGNORE_LABEL
from leuko_mm.datasets.places import Place, field_labels, parse_place

HALF = Place("f", 4, 2, 0.5)


@pytest.mark.parametrize("x", [0, 7, 1079.0, 0.1, 1 / 3, -12.5, 1e7])
def test_columns_lead_back_to_the_place(x):
    place = Place("f_1-1", x, 3, 0.5)
    assert parse_place(*place.columns()) == place


def test_empty_columns_are_no_place():
    assert parse_place("", "", "", "") is None


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("f", "1", "", "0.5"), "give all four or none"),
        (("", "1", "2", "0.5"), "give all four or none"),
        (("f", "1", "2", "0"), "a scale above 0"),
        (("f", "nan", "2", "1"), "two finite numbers"),
        (("f", "1", "inf", "1"), "two finite numbers"),
        (("f", "left", "2", "1"), "could not convert"),
    ],
)
def test_columns_that_place_nothing_are_refused(columns, words):
    with pytest.raises(ValueError, match=words):
        parse_place(*columns)


def test_corners_lie_where_the_cell_was_cut_out():
    assert HALF.to_field(0, 0) == (4, 2)
    assert HALF.to_field(3, 5) == (10, 12)


def test_half_size_masks_return_as_blocks_of_two():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    labels = field_labels((8, 12), [(mask, HALF)])
    assert (labels[2:6, 4:10] == np.kron(mask, np.ones((2, 2), np.uint8))).all()
    outside = np.ones((8, 12), bool)
    outside[2:6, 4:10] = False
    assert (labels[outside] == IGNORE_LABEL).all()


@pytest.mark.parametrize("scale", [0.3, 0.5, 1, 1.7])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (2.4, 3.5), (-3.2, 5), (17, 16.9)])
def test_each_field_pixel_takes_what_lies_under_its_middle(scale, x, y):
    mask = np.random.default_rng(0).integers(0, 6, (5, 7), dtype=np.uint8)
    labels = field_labels((20, 18), [(mask, Place("f", x, y, scale))])
    for row in range(20):
        for column in range(18):
            v = math.floor((row + 0.5 - y) * scale)
            u = math.floor((column + 0.5 - x) * scale)
            inside = 0 <= v < 5 and 0 <= u < 7
            assert labels[row, column] == (mask[v, u] if inside else IGNORE_LABEL)


def test_a_leukocyte_stands_before_the_background_of_a_neighbour():
    cell, bare = np.full((2, 2), 3, np.uint8), np.zeros((2, 4), np.uint8)
    at = [(cell, Place("f", 1, 0, 1)), (bare, Place("f", 0, 0, 1))]
    for order in (at, at[::-1]):
        assert field_labels((2, 4), order).tolist() == [[0, 3, 3, 0]] * 2


def test_what_a_cell_ignores_stays_ignored():
    mask = np.array([[IGNORE_LABEL, 1, 0]], np.uint8)
    labels = field_labels((1, 4), [(mask, Place("f", 0, 0, 1))])
    assert labels.tolist() == [[IGNORE_LABEL, 1, 0, IGNORE_LABEL]]


def test_a_cell_beside_the_field_changes_nothing():
    cell = np.ones((2, 2), np.uint8)
    for x in (-9, 9):
        labels = field_labels((3, 3), [(cell, Place("f", x, 0, 1))])
        assert (labels == IGNORE_LABEL).all()
