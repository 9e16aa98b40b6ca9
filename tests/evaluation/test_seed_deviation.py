"""The spread of trainings that differ in their seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leuko_mm.evaluation.seed_deviation import seed_deviation


def test_it_is_the_spread_within_tests_and_not_between_them():
    random = np.random.default_rng(0)
    folds = random.normal(80, 20, (4000, 1)) + random.normal(0, 3, (4000, 2))
    found = seed_deviation(folds.tolist())
    assert found.freedom == 4000
    assert found.value == pytest.approx(3, rel=0.03)


def test_tests_of_many_trainings_count_for_more():
    # Squares of 2 with one degree of freedom, of 2 with two.
    found = seed_deviation([[1, 3], [4, 5, 6]])
    assert (found.value, found.freedom) == (pytest.approx(math.sqrt(4 / 3)), 3)


def test_without_a_second_training_nothing_is_known():
    for figures in ([], [[80.0]], [[80.0], [90.0]]):
        found = seed_deviation(figures)
        assert math.isnan(found.value)
        assert found.freedom == 0
