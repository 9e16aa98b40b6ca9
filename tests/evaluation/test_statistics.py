"""Resampling weights, the common order of two runs, and the spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leuko_mm.evaluation.statistics import (
    DifferentCellsError,
    resample_weights,
    same_cells,
    seed_deviation,
)

GROUPS = np.array(["a"] * 3 + ["b"] * 5 + ["c"] + ["d"] * 4)
CLASSES = np.array([1] * 8 + [2] * 5)


def by_slide(weights):
    return {name: weights[:, name == GROUPS].sum(axis=1) for name in np.unique(GROUPS)}


def test_as_many_cells_of_a_slide_are_drawn_as_it_has_every_time_it_is_drawn():
    weights = resample_weights(GROUPS, CLASSES, resamples=300)
    assert weights.shape == (300, 13)
    assert (weights >= 0).all()
    sizes = {"a": 3, "b": 5, "c": 1, "d": 4}
    times = {name: drawn / sizes[name] for name, drawn in by_slide(weights).items()}
    assert all((np.round(drawn) == drawn).all() for drawn in times.values())
    assert set(np.unique(times["a"])) == {0, 1, 2}
    # As many slides of a class as there are: no resample loses one.
    assert set(times["a"] + times["b"]) == {2}
    assert set(times["c"] + times["d"]) == {2}


def test_without_classes_all_slides_are_drawn_together():
    weights = resample_weights(GROUPS, resamples=300, within=False)
    drawn = weights[:, [0, 3, 8, 9]]
    assert set(drawn.sum(axis=1)) == {4}
    assert (drawn[:, :2].sum(axis=1) != 2).any()


def test_slides_that_mix_classes_are_drawn_together():
    mixed = np.arange(13) % 2 + 1
    weights = resample_weights(GROUPS, mixed, resamples=300)
    assert (weights == resample_weights(GROUPS, resamples=300)).all()


def test_the_mean_weight_is_one_and_its_variance_that_of_two_stages():
    weights = resample_weights(GROUPS, CLASSES, resamples=40_000, seed=3)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    # Var of k m draws of one of m cells, k of Binomial(2, 1/2): E[k] (1 - 1/m) + 1/2.
    m = np.array([3] * 3 + [5] * 5 + [1] + [4] * 4)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / m + 0.5, atol=0.05)


def test_the_seed_decides():
    one, again, other = (
        resample_weights(GROUPS, CLASSES, resamples=20, seed=seed) for seed in (1, 1, 2)
    )
    assert (one == again).all()
    assert (one != other).any()


def test_refuses():
    with pytest.raises(ValueError, match="0 cells"):
        resample_weights([])
    with pytest.raises(ValueError, match="2 cells with groups and 1 classes"):
        resample_weights(["a", "b"], [1])


def run(stems="abcd", groups="ggkk", classes=(1, 1, 2, 2), num_classes=3, seed=0):
    counts = np.random.default_rng(seed).integers(0, 9, (len(stems), num_classes) * 1)
    confusion = np.zeros((len(stems), num_classes, num_classes), int)
    confusion[np.arange(len(stems)), classes] = counts + 1
    return np.array(list(stems)), np.array(list(groups)), confusion


def test_brings_both_into_one_order():
    first, second = run(), run(seed=1)
    order = [2, 0, 3, 1]
    moved = tuple(side[order] for side in second)
    one, two, groups = same_cells(first, moved)
    assert (one == first[2]).all()
    assert (two == second[2]).all()
    assert groups.tolist() == list("ggkk")


def test_the_nth_of_a_stem_meets_the_nth():
    first = run("aabb")
    second = run("baba", "kgkg", (2, 1, 2, 1), seed=1)
    _, two, _ = same_cells(first, second)
    assert (two == second[2][[1, 3, 0, 2]]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (run("abcx"), r"4 and 4 tested cells, 2 of them in one run only, such as d, x"),
        (run("abc", "ggk", (1, 1, 2)), "4 and 3 tested cells, 1 of them"),
        (run("aabcd", "gggkk", (1, 1, 1, 2, 2)), "4 and 5 tested cells, 0 of them"),
        (run(groups="gkkk"), "1 cells have another group .* such as b"),
        (run(classes=(1, 1, 2, 1)), "1 cells have another group .* such as d"),
        (run(num_classes=4), r"shape \(4, 3, 3\) and \(4, 4, 4\)"),
    ],
)
def test_runs_with_different_cells_are_refused(other, message):
    with pytest.raises(DifferentCellsError, match=message):
        same_cells(run(), other)


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
