import numpy as np
import pytest

from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.statistics import (
    bootstrap_interval,
    bootstrap_intervals,
    metric_values,
    resample_weights,
)

pytestmark = pytest.mark.filterwarnings("error")


def drawn_cells(slides=10, cells=5, seed=0):
    """Return confusions of cells on slides of one class each, and their slides."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(1, 6), slides * cells)
    counts = np.zeros((len(classes), 6, 6), np.int64)
    row = np.arange(len(classes))
    wrong = random.integers(1, 6, len(classes))
    taken = np.where(random.random(len(classes)) < 0.8, classes, wrong)
    counts[row, classes, taken] += random.integers(800, 1500, len(classes))
    counts[row, classes, 0] += random.integers(0, 200, len(classes))
    counts[row, 0, taken] += random.integers(0, 200, len(classes))
    counts[:, 0, 0] += 14_000
    groups = [f"{c}_{s}" for c in range(5) for s in range(slides) for _ in range(cells)]
    return counts, np.array(groups)


def test_the_ends_are_percentiles_over_slides_then_cells():
    """The same by loops: every resample pooled and scored by itself."""
    counts, groups = drawn_cells(slides=3)
    classes = counts.sum(axis=2)[:, 1:].argmax(axis=1)
    weights = resample_weights(groups, classes, resamples=60, seed=4)
    values = [
        scores(np.repeat(counts, w.astype(int), axis=0).sum(axis=0)).metrics["mIoU"]
        for w in weights
    ]
    found = bootstrap_interval(counts, groups, "mIoU", resamples=60, seed=4, level=0.8)
    assert found.value == scores(counts.sum(axis=0)).metrics["mIoU"]
    expected = np.percentile(values, [10, 90])
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-9)


def test_several_figures_are_those_of_each_alone():
    counts, groups = drawn_cells()
    figures = ["mIoU", "pixel_accuracy", "right_class", "iou.monocyte", "mF1_fg"]
    together = bootstrap_intervals(counts, groups, figures, resamples=200)
    assert list(together) == figures
    for name in figures:
        alone = bootstrap_interval(counts, groups, name, resamples=200)
        assert together[name] == alone
        assert alone.low < alone.value < alone.high
    assert bootstrap_intervals(counts, groups, {"x": "mIoU"}, resamples=200) == {
        "x": together["mIoU"]
    }


def test_where_no_resample_differs_the_ends_are_the_value():
    random = np.random.default_rng(0)
    for _ in range(20):
        counts = np.repeat(random.integers(1, 1500, (1, 6, 6)), 7, axis=0)
        counts[:, :, 3] += 10_000 * (np.arange(6) == 3)
        names = ["mIoU", "mF1", "mIoU_fg", "mPrecision", "mean_dice", "pixel_accuracy"]
        found = bootstrap_intervals(counts, ["slide"] * 7, names, resamples=50)
        for one in found.values():
            assert one.low == one.value == one.high


def test_cells_of_one_slide_count_less_than_cells_of_many():
    counts, groups = drawn_cells(cells=1)
    many = np.repeat(counts, 7, axis=0)
    clustered = bootstrap_interval(many, np.repeat(groups, 7), "mIoU")
    apart = bootstrap_interval(many, np.arange(len(many)), "mIoU")
    assert clustered.high - clustered.low > 2 * (apart.high - apart.low)


def test_a_class_that_a_resample_loses_is_left_out_of_its_mean():
    counts, _ = drawn_cells(slides=1, cells=2)
    # Slides that mix classes, so that a resample can hold one class only.
    groups = np.arange(len(counts)) % 3
    found = bootstrap_interval(counts, groups, "mIoU", resamples=300)
    assert found.low <= found.value <= found.high
    # Two cells of the first class, of one of which a pixel is taken for the second.
    cells = np.array(
        [
            [[90, 0, 0], [0, 9, 1], [0, 0, 0]],
            [[90, 0, 0], [0, 10, 0], [0, 0, 0]],
            [[90, 0, 0], [0, 0, 0], [0, 0, 10]],
        ]
    )
    # Six classes as the metrics of one class have them; the others do not occur.
    cells = np.pad(cells, ((0, 0), (0, 3), (0, 3)))
    kept, lost = metric_values(cells, np.array([[1, 1, 1], [1, 1, 0]]), "mIoU")
    assert kept == pytest.approx((100 + 95 + 100 * 10 / 11) / 3)
    assert lost == pytest.approx((100 + 95) / 2)
    own = metric_values(cells, np.array([[1, 1, 1], [1, 1, 0]]), "iou.eosinophil")
    assert own[0] == pytest.approx(100 * 10 / 11)
    assert np.isnan(own[1])
    # What no cell is of, but some pixel is taken for, counts in every resample.
    (never,) = metric_values(cells[:2], np.ones((1, 2)), "mIoU")
    assert never == pytest.approx((100 + 95 + 0) / 3)
    absent = counts * 0
    nothing = bootstrap_interval(absent, groups, "mIoU", resamples=20)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 95}, "level 95"),
        ({"resamples": 0}, "resamples is 0"),
        ({"classes": [1]}, "1 classes"),
    ],
)
def test_refuses(options, message):
    counts, groups = drawn_cells(slides=2)
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(counts, groups, "mIoU", **options)
    with pytest.raises(ValueError, match="one group a cell"):
        bootstrap_interval(counts, groups[1:], "mIoU")
