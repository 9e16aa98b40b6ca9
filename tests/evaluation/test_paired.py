import itertools

import numpy as np
import pytest

from leuko_mm.evaluation.cell_scores import statistic
from leuko_mm.evaluation.statistics import (
    DifferentCellsError,
    bootstrap_interval,
    holm,
    independent_difference,
    paired_difference,
)

pytestmark = pytest.mark.filterwarnings("error")


def two_methods(slides=10, cells=5, *, gain=0.0, networks=0.0, seed=0):
    """Return confusions of two methods on slides that both find hard or easy.

    With ``networks`` every fifth of the slides has a network of each method, which
    differ by chance: the standard deviation in log odds of the right class.
    """
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(1, 6), slides * cells)
    slide = np.repeat(np.arange(5 * slides), cells)
    odds = 1.5 + random.standard_normal(5 * slides)[slide]
    row, sides = np.arange(len(classes)), []
    fold = 5 * (slide % slides) // slides
    for more in (gain, 0.0):
        if networks:
            more = more + networks * random.standard_normal(5)[fold]
        right = random.random(len(classes)) < 1 / (1 + np.exp(-odds - more))
        wrong = (classes + random.integers(0, 4, len(classes))) % 5 + 1
        taken = np.where(right, classes, wrong)
        counts = np.zeros((len(classes), 6, 6))
        counts[row, classes, taken] = random.integers(900, 1200, len(classes))
        counts[row, classes, 0] = 60
        counts[:, 0, 0] = 14_000
        sides.append(counts)
    return *sides, slide


def difference(first, second, name):
    figure = statistic(name)
    one, two = (
        float(figure.value(figure.parts(side).sum(axis=0))) for side in (first, second)
    )
    return one - two


@pytest.mark.parametrize("name", ["mIoU", "right_class"])
def test_few_slides_are_swapped_in_every_way(name):
    """The p value by loops over all swaps."""
    first, second, slide = two_methods(slides=1, cells=3, gain=1.0, seed=3)
    seen, values = difference(first, second, name), []
    for swapped in itertools.product([False, True], repeat=5):
        swap = np.array(swapped)[slide, None, None]
        mixed = np.where(swap, second, first), np.where(swap, first, second)
        values.append(difference(*mixed, name))
    expected = np.mean(np.abs(values) >= abs(seen) - 1e-9)
    found = paired_difference(first, second, slide, name)
    assert found.value == pytest.approx(seen, abs=1e-9)
    assert found.p == pytest.approx(expected, abs=1e-12)
    assert found.p >= 2 / 2**5


def test_the_other_way_round_is_the_negative():
    first, second, slide = two_methods(gain=0.5)
    one = paired_difference(first, second, slide, "mIoU", resamples=500)
    two = paired_difference(second, first, slide, "mIoU", resamples=500)
    assert two.value == pytest.approx(-one.value)
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low))
    assert two.p == one.p


def test_the_same_results_do_not_differ():
    first, _, slide = two_methods()
    found = paired_difference(first, first, slide, "mIoU", resamples=200)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_set_of_resamples_serves_both():
    """What all cells share cancels: the difference is surer than either figure."""
    first, _, slide = two_methods()
    second = first.copy()
    # One cell a slide loses a tenth of its pixels to the background.
    cells = np.arange(0, len(slide), 5)
    for a, b in itertools.product(range(1, 6), repeat=2):
        second[cells, a, b] *= 0.9
    second[cells, :, 0] += (first - second)[cells].sum(axis=2)
    found = paired_difference(first, second, slide, "mIoU")
    alone = bootstrap_interval(first, slide, "mIoU")
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.3 * (alone.high - alone.low)
    assert found.low > 0
    assert found.p < 0.01


def share_of_small_p(**simulated):
    """Return the share of p <= 0.05 over 400 pairs of methods that are alike."""
    small = 0
    for seed in range(400):
        first, second, slide = two_methods(**simulated, seed=seed)
        found = paired_difference(first, second, slide, "mIoU", resamples=199)
        small += found.p <= 0.05
    print(f"{simulated}: {100 * small / 400:.1f} % of p values at most 0.05")
    return small / 400


@pytest.mark.parametrize("slides", [pytest.param(10, marks=pytest.mark.slow), 2])
def test_of_methods_that_are_alike_one_in_twenty_differs(slides):
    """Three standard errors are 3.3 %."""
    assert 0.017 <= share_of_small_p(slides=slides) <= 0.083


@pytest.mark.slow
@pytest.mark.parametrize("networks", [0.5, 1.0])
def test_p_is_of_trained_networks_not_of_methods(networks):
    """Methods that are alike, but whose trainings differ, differ more often."""
    assert share_of_small_p(networks=networks) > 0.083


def test_results_on_different_cells():
    first, second, slide = two_methods(gain=2.0)
    # Other slides, and fewer of them.
    part = slide % 10 < 6
    other = second[part], slide[part]
    found = independent_difference((first, slide), other, "right_class")
    assert found.value == pytest.approx(
        statistic("right_class").parts(first)[:, 0].mean()
        - statistic("right_class").parts(second[part])[:, 0].mean()
    )
    assert found.low < found.value < found.high
    assert found.low > 0
    assert found.p < 0.05
    paired = paired_difference(first, second, slide, "right_class")
    apart = independent_difference((first, slide), (second, slide), "right_class")
    assert apart.value == pytest.approx(paired.value)
    alone = [bootstrap_interval(s, slide, "right_class") for s in (first, second)]
    widths = [one.high - one.low for one in alone]
    assert apart.high - apart.low == pytest.approx(np.hypot(*widths), rel=0.1)


def test_an_undefined_metric_has_no_p():
    cells = np.zeros((4, 6, 6), int)
    cells[:, 0, 0], cells[:, 1, 1] = 10, 5
    side = cells, ["x", "y", "z", "w"]
    assert np.isnan(independent_difference(side, side, "iou.monocyte").p)


def test_holm_by_hand():
    # Four values: 0.005 * 4, 0.01 * 3, then 0.03 * 2, and 0.04 * 1 not below it.
    corrected = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(corrected, [0.03, 0.06, 0.06, 0.02], atol=1e-12)
    np.testing.assert_allclose(holm([0.6, 0.5]), [1.0, 1.0])
    np.testing.assert_allclose(
        holm([0.02, np.nan, 0.01]), [0.02, np.nan, 0.02], atol=1e-12
    )
    assert holm([]).size == 0


def test_refuses_cells_that_are_not_the_same():
    first, second, slide = two_methods()
    with pytest.raises(DifferentCellsError, match="expected the same cells"):
        paired_difference(first, second[1:], slide, "mIoU")
    with pytest.raises(DifferentCellsError, match="249 groups"):
        paired_difference(first, second, slide[1:], "mIoU")
    with pytest.raises(DifferentCellsError, match="different true classes"):
        paired_difference(first, second[::-1], slide, "mIoU")
