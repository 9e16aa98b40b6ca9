"""Which cells of an image were found: by overlap, one to one."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.evaluation.matching import match_cells


def square(x: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((20, 60), bool)
    mask[5 : 5 + side, x : x + side] = True
    return mask


def ids(*masks: np.ndarray) -> np.ndarray:
    found = np.zeros((20, 60), int)
    for number, mask in enumerate(masks, 1):
        found[mask] = number
    return found


def test_a_cell_that_is_shifted_is_found_with_its_overlap():
    match = match_cells([square(5)], ids(square(7)), cells=1)
    assert match.found == ((0, 0, pytest.approx(80 / 120)),)
    assert match.missed == match.false == ()


def test_less_than_half_is_a_missed_cell_and_a_false_one():
    match = match_cells([square(5)], ids(square(9)), cells=1)
    assert match.found == ()
    assert (match.missed, match.false) == ((0,), (0,))


def test_two_cells_taken_for_one_are_found_at_most_once():
    one = square(5) | square(15)
    match = match_cells([square(5), square(15)], ids(one), cells=1)
    assert len(match.found) == 1
    assert len(match.missed) == 1


def test_pieces_of_a_cell_count_once_and_the_rest_is_false():
    left, right = square(5), square(5)
    left[:, 12:], right[:, :12] = False, False
    match = match_cells([square(5)], ids(right, left), cells=2)
    assert match.found == ((0, 1, pytest.approx(0.7)),)
    assert match.false == (0,)


def test_nothing_true_and_nothing_predicted():
    assert match_cells([], ids(square(5)), cells=1).false == (0,)
    assert match_cells([square(5)], ids(), cells=0).missed == (0,)
