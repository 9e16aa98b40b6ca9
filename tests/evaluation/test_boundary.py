import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from leuko_mm.evaluation.boundary import (
    boundary_counts,
    boundary_f1,
    boundary_statistics,
)
from leuko_mm.evaluation.statistics import bootstrap_interval, metric_values

pytestmark = pytest.mark.filterwarnings("error")


def blobs(seed, side=40):
    """Return a smooth label map of three classes, background the most."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint8)
    for label in (1, 2):
        cy, cx, r = random.uniform(5, side - 5, 3)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < (4 + r / 4) ** 2] = label
    return labels


def outline(mask):
    """Outline by loops: a pixel with a neighbour of another kind inside the image."""
    rows, columns = mask.shape
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [(a, b) for a, b in around if 0 <= a < rows and 0 <= b < columns]
        found[y, x] = any(not mask[place] for place in inside)
    return found


def matched(own, other, tolerance):
    if not other.any():
        return 0
    return int((distance_transform_edt(~other)[own] <= tolerance).sum())


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_distances_between_outlines(seed, tolerance):
    truth, prediction = blobs(seed), blobs(seed + 100)
    counts = boundary_counts(truth, prediction, 3, tolerance=tolerance)
    for label in range(3):
        true, drawn = outline(truth == label), outline(prediction == label)
        assert counts[label].tolist() == [
            [matched(true, drawn, tolerance), int(true.sum())],
            [matched(drawn, true, tolerance), int(drawn.sum())],
        ]


def test_a_perfect_prediction_scores_100_and_a_shift_within_the_tolerance_too():
    truth = np.zeros((32, 32), np.uint8)
    truth[10:20, 8:22] = 1
    near = np.roll(truth, 2, axis=1)
    for prediction in (truth, near):
        f1 = boundary_f1(boundary_counts(truth, prediction, 2, tolerance=2))
        assert f1.tolist() == [100.0, 100.0]
    assert boundary_f1(boundary_counts(truth, near, 2, tolerance=1))[1] < 100


def test_the_edge_of_the_image_is_no_outline():
    truth = np.ones((8, 8), np.uint8)
    assert not boundary_counts(truth, truth, 2).any()


def test_pixels_near_ignored_ones_do_not_count():
    truth, prediction = blobs(1), blobs(2)
    truth[:, 20:] = 255
    expected = boundary_counts(truth, prediction, 3, tolerance=2)
    prediction[:, 20:] = 1
    changed = boundary_counts(truth, prediction, 3, tolerance=2)
    # What is predicted where nobody knows the truth still may reach a true outline.
    assert (changed[:, 1, 1] == expected[:, 1, 1]).all()
    assert (changed[:, 0, 1] == expected[:, 0, 1]).all()
    assert expected[..., 1].any()
    truth[:] = 255
    assert not boundary_counts(truth, prediction, 3).any()


def test_a_class_on_one_side_scores_0_and_on_none_nothing():
    counts = np.zeros((3, 2, 2), int)
    counts[0] = [[5, 10], [5, 10]]
    counts[1, 0] = [0, 4]
    assert boundary_f1(counts)[:2].tolist() == [50.0, 0.0]
    assert np.isnan(boundary_f1(counts)[2])
    figures = boundary_statistics()
    assert figures["boundary_f1"].value(counts) == 0.0
    assert figures["outline_f1"].value(counts) == 50.0


def test_intervals_take_the_stored_counts():
    counts = np.stack([boundary_counts(blobs(s), blobs(s + 1), 3) for s in range(6)])
    figure = boundary_statistics()["boundary_f1"]
    found = bootstrap_interval(counts, list("aabbcc"), figure, classes=[1] * 6)
    assert found.value == pytest.approx(boundary_f1(counts.sum(axis=0))[1:].mean())
    assert found.low <= found.value <= found.high
    with pytest.raises(ValueError, match="pass classes="):
        bootstrap_interval(counts, list("aabbcc"), figure)


def test_a_class_that_a_resample_lost_is_left_out():
    """The second cell has a stray outline of the class that only the first is of."""
    outlines = [[10, 10], [10, 10]]
    stray = [[0, 0], [0, 5]]
    nothing = [[0, 0], [0, 0]]
    cells = np.array([[nothing, nothing, outlines], [nothing, outlines, stray]])
    figure = boundary_statistics()["boundary_f1"]
    both, second = metric_values(cells, np.array([[1, 1], [0, 1]]), figure)
    of_lost = 2 * 1 * (10 / 15) / (1 + 10 / 15)
    assert both == pytest.approx(100 * (1 + of_lost) / 2)
    assert second == pytest.approx(100)


@pytest.mark.parametrize(
    ("shape", "tolerance", "message"),
    [((3, 4), 1, r"\(3, 4\)"), ((4, 4), -1, "tolerance is -1")],
)
def test_refuses(shape, tolerance, message):
    with pytest.raises(ValueError, match=message):
        boundary_counts(
            np.zeros((4, 4), int), np.zeros(shape, int), 2, tolerance=tolerance
        )
