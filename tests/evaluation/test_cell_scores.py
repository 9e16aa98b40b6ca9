"""Dice and majority class of single cells, against plain loops over their pixels."""

import numpy as np
import pytest

from leuko_mm.evaluation.cell_scores import (
    cell_dice,
    majority_classes,
    with_classes_right,
)
from leuko_mm.evaluation.confusion import confusion_matrix

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 4, (20, 12, 12))
PREDICTION = np.where(RNG.random((20, 12, 12)) < 0.6, TRUTH, TRUTH[::-1])
CELLS = np.stack(
    [confusion_matrix(t, p, 4) for t, p in zip(TRUTH, PREDICTION, strict=True)]
)


def test_dice_counts_the_pixels_themselves():
    expected = []
    for truth, prediction in zip(TRUTH, PREDICTION, strict=True):
        correct = ((truth == prediction) & (truth > 0)).sum()
        expected.append(200 * correct / ((truth > 0).sum() + (prediction > 0).sum()))
    np.testing.assert_allclose(cell_dice(CELLS), expected)


def test_majority_counts_the_pixels_themselves():
    truth, predicted = majority_classes(CELLS)
    inside = np.where(TRUTH > 0, PREDICTION, 0)
    for labels, found in ((TRUTH, truth), (inside, predicted)):
        for image, winner in zip(labels, found, strict=True):
            counts = [(image == c).sum() for c in (1, 2, 3)]
            assert counts[winner - 1] == max(counts)


def test_limits():
    perfect, misnamed, missed, empty = (np.zeros((3, 3), int) for _ in range(4))
    for counts in (perfect, misnamed, missed, empty):
        counts[0, 0] = 1000
    perfect[1, 1] = misnamed[1, 2] = missed[1, 0] = 50
    cells = np.stack([perfect, misnamed, missed, empty])
    np.testing.assert_array_equal(cell_dice(cells), [100, 0, 0, np.nan])
    truth, predicted = majority_classes(cells)
    assert truth.tolist() == [1, 1, 1, 0]
    assert predicted.tolist() == [1, 2, 0, 0]


def test_a_false_alarm_beside_the_cell_does_not_name_it():
    alarm = np.array([[[1000, 0, 90], [10, 40, 0], [0, 0, 0]]])
    truth, predicted = majority_classes(alarm)
    assert truth.tolist() == predicted.tolist() == [1]


def test_no_cell_at_all():
    nothing = np.zeros((0, 6, 6), int)
    assert cell_dice(nothing).shape == (0,)
    assert [side.shape for side in majority_classes(nothing)] == [(0,), (0,)]


def test_the_counts_are_not_changed():
    before = CELLS.copy()
    majority_classes(CELLS)
    np.testing.assert_array_equal(CELLS, before)


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 5)])
def test_one_matrix_a_cell_is_needed(shape):
    with pytest.raises(ValueError, match=r"expected \(N, C, C\)"):
        cell_dice(np.zeros(shape))


def test_with_classes_right_only_the_outlines_are_wrong():
    shown = with_classes_right(CELLS)
    named, _ = majority_classes(CELLS)
    for truth, prediction, name, found in zip(
        TRUTH, PREDICTION, named, shown, strict=True
    ):
        ideal = np.where(prediction > 0, np.where(truth > 0, truth, name), 0)
        np.testing.assert_array_equal(found, confusion_matrix(truth, ideal, 4))
