import numpy as np
import pytest

from leuko_mm.evaluation.colour_spread import cielab, class_spread, spread


@pytest.mark.parametrize(
    ("rgb", "lab"),  # sRGB primaries under D65, from the standard's formulas
    [
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((128, 128, 128), (53.59, 0, 0)),
    ],
)
def test_cielab_of_known_colours(rgb, lab):
    np.testing.assert_allclose(cielab(np.array([rgb], np.uint8))[0], lab, atol=0.15)


def test_spread_is_the_distance_from_the_mean():
    assert spread(np.array([[0.0, 3, 0], [0, 0, 4], [0, -3, 0], [0, 0, -4]])) == (
        pytest.approx(np.sqrt((9 + 16) / 2))
    )
    assert spread(np.ones((5, 3))) == 0
    assert np.isnan(spread(np.empty((0, 3))))


def test_spread_within_and_between_add_up_for_equal_classes():
    colours = np.random.default_rng(0).normal(size=(30, 3)) * 7
    found = class_spread(colours, ["a", "b", "c"] * 10)
    total = found.between_slides**2 + found.between_classes**2
    assert total == pytest.approx(spread(colours) ** 2)


def test_a_shift_of_all_changes_nothing_and_a_scale_leaves_the_separability():
    colours = np.random.default_rng(1).normal(size=(12, 3))
    names = ["a"] * 4 + ["b"] * 8
    before = class_spread(colours, names)
    after = class_spread(3 * colours + 20, names)
    assert after.between_slides == pytest.approx(3 * before.between_slides)
    assert after.separability == pytest.approx(before.separability)


def test_limits_of_separability():
    apart = class_spread(np.array([[0.0, 0, 0], [1, 0, 0]]), ["a", "b"])
    assert apart.separability == float("inf")
    assert np.isnan(class_spread(np.zeros((2, 3)), ["a", "b"]).separability)


def test_raises_for_lengths_that_differ():
    with pytest.raises(ValueError, match="2 colours and 1 classes"):
        class_spread(np.zeros((2, 3)), ["a"])
