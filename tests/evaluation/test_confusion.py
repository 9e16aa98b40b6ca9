"""Confusion matrices, their scores and the table; the oracle is scikit-learn."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.evaluation.confusion import (
    CLASS_KEYS,
    MEAN_OF,
    METRIC_KEYS,
    confusion_matrix,
    mean_defined,
    mean_scores,
    per_class_table,
    scores,
)

pytestmark = pytest.mark.filterwarnings("error")


def label_maps(num_classes, *, seed=0, absent=(), ignored=0.1):
    """Random truth and a prediction that agrees with about 70 % of it."""
    random = np.random.default_rng(seed)
    present = [label for label in range(num_classes) if label not in absent]
    truth = random.choice(present, size=(3, 37, 41)).astype(np.uint8)
    noise = random.choice(present, size=truth.shape)
    prediction = np.where(random.random(truth.shape) < 0.7, truth, noise)
    truth[random.random(truth.shape) < ignored] = 255
    return truth, prediction


def class_scores(result, key):
    values = [row[key] for row in result.per_class.values()]
    return np.array([math.nan if value is None else value for value in values])


@pytest.mark.parametrize("absent", [(), (1,), (0, 4)])
@pytest.mark.parametrize(
    ("num_classes", "names"), [(6, CLASS_NAMES), (2, BINARY_NAMES)]
)
def test_agrees_with_scikit_learn(num_classes, names, absent):
    absent = tuple(label for label in absent if label < num_classes)
    truth, prediction = label_maps(num_classes, absent=absent)
    counts = confusion_matrix(truth, prediction, num_classes)
    counted = truth != 255
    t, p, labels = truth[counted], prediction[counted], list(range(num_classes))
    assert (counts == sk.confusion_matrix(t, p, labels=labels)).all()
    result = scores(counts)
    assert tuple(result.per_class) == names

    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        t, p, labels=labels, zero_division=np.nan
    )
    present = [label for label in labels if label not in absent]
    # jaccard_score knows no NaN; absent classes are checked on their own.
    iou = np.full(num_classes, np.nan)
    iou[present] = sk.jaccard_score(t, p, labels=present, average=None)
    accuracy = np.full(num_classes, np.nan)
    accuracy[present] = [sk.accuracy_score(t == c, p == c) for c in present]
    expected = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "iou": iou,
        "ovr_accuracy": accuracy,
    }
    for key, values in expected.items():
        np.testing.assert_allclose(
            class_scores(result, key), 100 * values, rtol=0, atol=1e-9
        )
    means = {
        "mIoU": np.nanmean(iou),
        "mF1": np.nanmean(f1),
        "mPrecision": np.nanmean(precision),
        "mRecall": np.nanmean(recall),
        "ovr_accuracy": np.nanmean(accuracy),
        "pixel_accuracy": sk.accuracy_score(t, p),
    }
    for key, value in means.items():
        assert result.metrics[key] == pytest.approx(100 * value, abs=1e-9)
    foreground = iou[1:][~np.isnan(iou[1:])]
    if foreground.size:
        assert result.metrics["mIoU_fg"] == pytest.approx(
            100 * foreground.mean(), abs=1e-9
        )


def test_many_matrices_at_once_are_scored_as_each_alone():
    matrices = [confusion_matrix(*label_maps(6, seed=s), 6) for s in range(3)]
    matrices.append(confusion_matrix(*label_maps(6, absent=(0, 4)), 6))
    means = mean_scores(np.stack(matrices))
    assert set(means) == {*METRIC_KEYS, *(f"{name}_fg" for name in MEAN_OF)}
    for row, matrix in enumerate(matrices):
        alone = scores(matrix)
        assert {key: means[key][row] for key in METRIC_KEYS} == alone.metrics
        foreground = class_scores(alone, "f1")[1:]
        assert means["mF1_fg"][row] == pytest.approx(np.nanmean(foreground))


@pytest.mark.parametrize("seed", range(5))
def test_iou_follows_from_f1_and_stays_below_precision_and_recall(seed):
    result = scores(confusion_matrix(*label_maps(6, seed=seed), 6))
    f1, iou = class_scores(result, "f1") / 100, class_scores(result, "iou") / 100
    np.testing.assert_allclose(iou, f1 / (2 - f1), atol=1e-12)
    smaller = np.minimum(
        class_scores(result, "precision"), class_scores(result, "recall")
    )
    assert (100 * iou <= smaller + 1e-9).all()


def test_keys_are_those_of_the_contract():
    result = scores(np.eye(6, dtype=int))
    assert tuple(result.metrics) == METRIC_KEYS
    assert all(tuple(row) == CLASS_KEYS for row in result.per_class.values())
    assert set(result.metrics.values()) == {100.0}


def test_numbers_by_hand():
    result = scores([[6, 1, 0], [2, 3, 1], [0, 0, 2]], ["background", "a", "b"])
    assert result.per_class["a"]["precision"] == pytest.approx(75)
    assert result.per_class["a"]["recall"] == pytest.approx(50)
    assert result.per_class["a"]["f1"] == pytest.approx(60)
    assert result.per_class["a"]["iou"] == pytest.approx(100 * 3 / 7)
    assert result.per_class["a"]["ovr_accuracy"] == pytest.approx(100 * 11 / 15)
    assert result.metrics["pixel_accuracy"] == pytest.approx(100 * 11 / 15)
    ious = np.array([6 / 9, 3 / 7, 2 / 3])
    assert result.metrics["mIoU"] == pytest.approx(100 * ious.mean())
    assert result.metrics["mIoU_fg"] == pytest.approx(100 * ious[1:].mean())


def test_class_in_neither_map_is_none_and_outside_the_means():
    counts = np.zeros((6, 6), dtype=int)
    counts[:2, :2] = [[50, 10], [5, 35]]
    result = scores(counts)
    assert set(result.per_class["monocyte"].values()) == {None}
    assert result.metrics == pytest.approx(scores(counts[:2, :2]).metrics)


@pytest.mark.parametrize(
    ("counts", "precision", "recall"),
    [([[5, 5], [0, 0]], 0, None), ([[5, 0], [5, 0]], None, 0)],
)
def test_class_on_one_side_only_scores_zero(counts, precision, recall):
    result = scores(counts)
    row = result.per_class["leukocyte"]
    found = (row["iou"], row["f1"], row["precision"], row["recall"])
    assert found == (0, 0, precision, recall)
    assert result.metrics["mIoU"] == 25.0
    # Of both classes: half of the first is right, or all of it and none of the other.
    assert result.metrics["mRecall"] == 50.0


def test_everything_ignored_leaves_nothing_to_score():
    counts = confusion_matrix(np.full((4, 4), 255), np.zeros((4, 4), int), 6)
    assert not counts.any()
    result = scores(counts)
    assert set(result.metrics.values()) == {None}
    json.dumps(result.per_class, allow_nan=False)


def test_prediction_under_ignored_truth_does_not_matter():
    truth, prediction = label_maps(6)
    expected = confusion_matrix(truth, prediction, 6)
    prediction[truth == 255] = 99
    assert (confusion_matrix(truth, prediction, 6) == expected).all()
    assert expected.sum() == (truth != 255).sum()


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([0, 6], [0, 1], "truth holds the label 6"),
        ([0, 1], [0, 255], "prediction holds the label 255"),
        ([0, 1], [0, -1], "prediction holds the label -1"),
        ([0, 1], [0.0, 1.0], "dtype float64"),
        ([0, 1], [[0, 1]], r"\(2,\) but prediction \(1, 2\)"),
    ],
)
def test_refuses_what_names_no_class(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(np.array(truth), np.array(prediction), 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_small_integer_types_do_not_overflow(dtype):
    labels = np.full((50, 50), 5, dtype=dtype)
    assert confusion_matrix(labels, labels, 6)[5, 5] == 2500


def test_matrix_and_names_must_fit():
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        scores(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="3 classes"):
        scores(np.eye(3))
    with pytest.raises(ValueError, match="different names"):
        scores(np.eye(3), ["a", "b", "b"])


def test_the_mean_is_over_what_is_defined_on_the_last_axis():
    values = np.random.default_rng(0).random((4, 3, 5))
    assert mean_defined(values) == pytest.approx(values.mean(axis=-1))
    values[1, 2, [0, 3]] = np.nan
    assert mean_defined(values)[1, 2] == pytest.approx(values[1, 2, [1, 2, 4]].mean())
    values[0, 0] = np.nan
    assert np.isnan(mean_defined(values)).tolist() == [[True, False, False]] + (
        [[False] * 3] * 3
    )


@pytest.fixture
def result():
    counts = np.diag([1000, 80, 70, 60, 50, 0])
    counts[1, 2] = counts[2, 0] = 10
    return scores(counts)


def test_markdown_has_equal_cells_and_widths(result):
    table, _, accuracies = per_class_table(result.per_class, result.metrics).partition(
        "\n\n"
    )
    lines = table.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {7}
    assert set(lines[1]) == set("|-: ")
    # header, rule, one a class, two means
    assert len(lines) == 2 + len(CLASS_NAMES) + 2
    assert accuracies == ("pixel accuracy 98.44 %, mean one-vs-rest accuracy 99.38 %")


@pytest.mark.parametrize("style", ["markdown", "plain"])
def test_rows_carry_the_scores(result, style):
    lines = per_class_table(result.per_class, result.metrics, style=style).splitlines()
    rows = {
        cells[0]: cells[1:]
        for cells in (line.replace("|", " ").split() for line in lines)
        if len(cells) == 6
    }
    assert rows["basophil"] == ["100.00", "88.89", "94.12", "88.89", "99.22"]
    assert rows["neutrophil"] == ["-"] * 5
    mean = next(line for line in lines if "with background" in line)
    foreground = next(line for line in lines if "foreground" in line)
    assert f"{result.metrics['mIoU']:.2f}" in mean
    assert f"{result.metrics['mIoU_fg']:.2f}" in foreground


def test_nan_is_set_like_none(result):
    per_class = {"a": dict.fromkeys(("precision", "recall"), float("nan"))}
    table = per_class_table(per_class, result.metrics, style="plain")
    assert "nan" not in table


def test_unknown_style(result):
    with pytest.raises(ValueError, match="'html'"):
        per_class_table(result.per_class, result.metrics, style="html")
