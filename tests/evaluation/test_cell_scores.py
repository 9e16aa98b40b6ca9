"""Metrics of cells, against plain loops over their pixels and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.evaluation.cell_scores import (
    MEANS,
    cell_dice,
    cell_figures,
    majority_classes,
    statistic,
    with_classes_right,
)
from leuko_mm.evaluation.confusion import CLASS_KEYS, confusion_matrix, scores


def cells(count=12, side=20, num_classes=6, seed=0):
    """Return label maps of cells, one true class each, and their confusions."""
    random = np.random.default_rng(seed)
    truth = np.zeros((count, side, side), int)
    truth[:, 5:15, 5:15] = random.integers(1, num_classes, (count, 1, 1))
    noise = random.integers(0, num_classes, truth.shape)
    prediction = np.where(random.random(truth.shape) < 0.8, truth, noise)
    pairs = zip(truth, prediction, strict=True)
    return (
        truth,
        prediction,
        np.stack([confusion_matrix(*p, num_classes) for p in pairs]),
    )


TRUTH, PREDICTION, CELLS = cells(count=20, num_classes=4)


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
    assert cell_dice(cells[:0]).shape == (0,)
    assert [side.shape for side in majority_classes(cells[:0])] == [(0,), (0,)]


def test_a_false_alarm_beside_the_cell_does_not_name_it():
    alarm = np.array([[[1000, 0, 90], [10, 40, 0], [0, 0, 0]]])
    truth, predicted = majority_classes(alarm)
    assert truth.tolist() == predicted.tolist() == [1]


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


def value(name, counts):
    metric = statistic(name)
    return float(metric.value(metric.parts(counts).sum(axis=0)))


@pytest.mark.parametrize("name", MEANS)
def test_means_are_those_of_scikit_learn(name):
    truth, prediction, counts = cells()
    t, p = truth.ravel(), prediction.ravel()
    labels = list(range(1 if name.endswith("_fg") else 0, 6))
    one_against_rest = np.mean([sk.accuracy_score(t == c, p == c) for c in labels])
    expected = {
        "mIoU": lambda: sk.jaccard_score(t, p, labels=labels, average="macro"),
        "mF1": lambda: sk.f1_score(t, p, labels=labels, average="macro"),
        "mPrecision": lambda: sk.precision_score(t, p, labels=labels, average="macro"),
        "mRecall": lambda: sk.recall_score(t, p, labels=labels, average="macro"),
        "pixel_accuracy": lambda: sk.accuracy_score(t, p),
        "ovr_accuracy": lambda: one_against_rest,
    }[name.removesuffix("_fg")]()
    assert value(name, counts) == pytest.approx(100 * expected, abs=1e-9)


def test_scores_of_a_class_are_those_of_the_results_file():
    _, _, counts = cells()
    expected = scores(counts.sum(axis=0)).per_class
    for name in CLASS_NAMES:
        for key in CLASS_KEYS:
            assert value(f"{key}.{name}", counts) == expected[name][key]
    _, _, binary = cells(num_classes=2)
    assert (
        value("f1.leukocyte", binary)
        == (scores(binary.sum(axis=0)).per_class["leukocyte"]["f1"])
    )


def test_an_independent_count_gives_the_same():
    truth, prediction, counts = cells()
    figures = cell_figures(counts)
    for row, (t, p) in enumerate(zip(truth, prediction, strict=True)):
        own, drawn = t > 0, p > 0
        label = t.max()
        found = (own & drawn).sum() / (own | drawn).sum() >= 0.5
        named = np.bincount(p[own & drawn], minlength=6).argmax()
        dice = 2 * (own & (p == label)).sum() / (own.sum() + drawn.sum())
        assert figures["found"][row] == 100 * found
        assert figures["right_class"][row] == 100 * (named == label)
        assert figures["mean_dice"][row] == pytest.approx(100 * dice, abs=1e-9)
    for name, values in figures.items():
        assert value(name, counts) == pytest.approx(values.mean(), abs=1e-9)


def test_a_cell_is_found_from_half_of_the_union_on():
    counts = np.zeros((3, 6, 6), int)
    counts[:, 1, 2] = [49, 50, 50]
    counts[:, 1, 0] = [26, 25, 0]
    counts[:, 0, 2] = [25, 25, 0]
    figures = cell_figures(counts)
    assert figures["found"].tolist() == [0, 100, 100]
    assert figures["right_class"].tolist() == [0, 0, 0]


def test_an_image_without_a_cell_is_none_of_them():
    counts = np.zeros((2, 6, 6), int)
    counts[0, 0, :2] = [50, 10]
    counts[1, 1, 1] = 30
    figures = cell_figures(counts)
    assert all(np.isnan(values[0]) for values in figures.values())
    assert [value(name, counts) for name in figures] == [100, 100, 100]
    assert np.isnan(value("found", counts[:1]))


@pytest.mark.parametrize("name", ["miou", "iou", "iou.", "iou.bas", "iou.lion", ""])
def test_refuses_what_is_no_metric(name):
    with pytest.raises(ValueError, match=f"no metric {name!r}"):
        statistic(name)


def test_refuses_a_class_that_the_matrix_does_not_have():
    with pytest.raises(ValueError, match="no class 'monocyte' among 2"):
        value("iou.monocyte", np.ones((1, 2, 2)))
