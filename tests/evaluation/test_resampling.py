import numpy as np
import pytest

from leuko_mm.evaluation.resampling import resample_weights

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


def test_within_false_keeps_the_cells_of_a_slide():
    weights = resample_weights(GROUPS, CLASSES, resamples=50, within=False)
    for name in np.unique(GROUPS):
        of_slide = weights[:, name == GROUPS]
        assert (of_slide == of_slide[:, :1]).all()


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
