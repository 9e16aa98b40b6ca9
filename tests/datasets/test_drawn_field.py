"""A drawn field is made of whole and cut squares of one slide."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.converters.synthetic import prepare_synthetic
from leuko_mm.datasets.drawn_field import drawn_field
from leuko_mm.datasets.prepared import DatasetError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    where = tmp_path_factory.mktemp("drawn") / "synthetic"
    prepare_synthetic(where, slides=2, cells_per_class=1, size=32)
    return where


def test_squares_lie_beside_each_other_and_come_again(root):
    field = drawn_field(root, 64 * 5, 100)
    assert field.shape == (100, 320, 3)
    squares = [field[:64, x : x + 64] for x in range(0, 320, 64)]
    # Five cells of the slide, each another one; the next row begins anew.
    assert len({square.tobytes() for square in squares}) == 5
    assert np.array_equal(field[64:100, :64], squares[0][:36])


def test_a_larger_field_is_the_same_where_both_are(root):
    small, wide = drawn_field(root, 320, 64), drawn_field(root, 320, 640)
    assert np.array_equal(wide[:64], small)


def test_without_drawn_smears_it_says_so(tmp_path):
    with pytest.raises(DatasetError):
        drawn_field(tmp_path / "nothing")
