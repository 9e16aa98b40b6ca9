"""Confidence against correctness: hand-computed, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from leuko_mm.evaluation.calibration import (
    calibration_error,
    cell_class,
    confidence_bins,
    pixel_bins,
    summary,
)


@pytest.mark.parametrize(("right", "error"), [(1, 0), (0, 100)])
def test_a_sure_network_has_no_error_or_all_of_it(right, error):
    counts = confidence_bins(np.ones(5), np.full(5, right))
    assert calibration_error(counts) == error
    assert counts[-1].tolist() == [5, 5, 5 * right]


def test_the_error_is_that_of_the_curve_of_scikit_learn():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 4000)
    right = rng.uniform(0, 1, 4000) < confidence**2
    counts = confidence_bins(confidence, right, bins=10)
    share, mean = calibration_curve(right, confidence, n_bins=10)
    filled = counts[:, 0] > 0
    np.testing.assert_allclose(counts[filled, 2] / counts[filled, 0], share)
    np.testing.assert_allclose(counts[filled, 1] / counts[filled, 0], mean)
    expected = 100 * (counts[filled, 0] * np.abs(share - mean)).sum() / 4000
    assert calibration_error(counts) == pytest.approx(expected)


def test_ignored_pixels_do_not_count():
    probabilities = np.array([[[0.9, 0.6]], [[0.1, 0.4]]])
    counts = pixel_bins(probabilities, np.array([[0, 255]]))
    assert counts[:, 0].sum() == 1
    assert counts[:, 2].sum() == 1


def test_a_cell_has_the_class_of_its_mean():
    probabilities = np.zeros((3, 1, 4))
    probabilities[:, 0, 0] = 1, 0, 0  # background beside it, not averaged
    probabilities[:, 0, 1:] = np.array([0.1, 0.3, 0.6])[:, None]
    sure, right = cell_class(probabilities, np.array([[0, 1, 1, 255]]))
    assert sure == pytest.approx(0.6 / 0.9, abs=1e-6)
    assert right is False
    assert cell_class(probabilities, np.zeros((1, 4))) is None


def test_a_cell_that_is_not_found_still_has_an_answer():
    probabilities = np.full((3, 1, 2), [[0.8]], float)
    probabilities[1:, 0] = [[0.15, 0.15], [0.05, 0.05]]
    assert cell_class(probabilities, np.array([[1, 1]])) == (0.75, True)


def test_a_summary_has_errors_in_percent_and_none_without_answers():
    found = summary(np.zeros((15, 3)), [(0.9, True)])
    assert found["pixels"]["error"] is None
    assert found["cells"]["error"] == pytest.approx(10)
    assert len(found["cells"]["bins"]) == 15


@pytest.mark.parametrize("confidence", [np.array([1.5]), np.array([np.nan])])
def test_what_is_no_probability_is_refused(confidence):
    with pytest.raises(ValueError, match="expected probabilities"):
        confidence_bins(confidence, np.array([True]))
