import copy
import itertools
import json

import numpy as np
import pytest

from leuko_mm.evaluation.confusion import scores
from leuko_mm.evaluation.consistency import (
    class_contradictions,
    implied_f1,
    implied_iou,
    iou_of_f1,
    mean_contradictions,
    results_contradictions,
)

KEYS = ("precision", "recall", "f1", "iou")
MEANS = ("mPrecision", "mRecall", "mF1", "mIoU")


def matrices(count=200):
    """Return random confusion matrices, some with classes that are absent or missed."""
    random = np.random.default_rng(0)
    for _ in range(count):
        matrix = random.integers(0, 10 ** random.integers(1, 5), (6, 6))
        matrix[:, random.random(6) < 0.2] = 0
        matrix[random.random(6) < 0.2] = 0
        yield matrix


@pytest.mark.parametrize("digits", [None, 3, 2, 1, 0])
def test_what_a_confusion_matrix_gives_never_contradicts_itself(digits):
    for matrix in matrices():
        found = scores(matrix)

        def printed(row):
            return {
                key: value if digits is None or value is None else round(value, digits)
                for key, value in row.items()
            }

        assert not mean_contradictions(printed(found.metrics), digits=digits)
        for row in found.per_class.values():
            assert not class_contradictions(printed(row), digits=digits)


@pytest.mark.parametrize("key", KEYS)
def test_a_figure_changed_by_more_than_rounding_is_found(key):
    row = {"precision": 80.0, "recall": 70.0}
    row = {**row, "f1": implied_f1(80, 70), "iou": implied_iou(80, 70)}
    assert not class_contradictions(row)
    for change in (-0.03, 0.03):
        changed = {**row, key: row[key] + change}
        rounded = {name: round(value, 2) for name, value in changed.items()}
        assert class_contradictions(changed)
        assert class_contradictions(rounded, digits=2)
        assert not class_contradictions(rounded, digits=1)


def test_rounding_is_allowed_for_and_no_more():
    # 2 * 50 * 50.01 / 100.01 is 50.005: either way of rounding may be printed.
    for f1 in (50.0, 50.01):
        row = {"precision": 50.0, "recall": 50.01, "f1": f1}
        assert not class_contradictions(row, digits=2)
    assert class_contradictions({**row, "f1": 50.02}, digits=2)


@pytest.mark.parametrize(
    ("row", "rules"),
    [
        ({"precision": 60, "iou": 61}, ["IoU <= precision and recall"]),
        ({"f1": 80, "iou": 80}, ["IoU = F1 / (2 - F1)"]),
        ({"recall": 101}, ["a share"]),
        ({"recall": None, "precision": float("nan"), "iou": 50}, []),
    ],
)
def test_some_figures_are_enough(row, rules):
    assert [found.rule for found in class_contradictions(row)] == rules


def test_a_contradiction_says_what_and_where():
    row = {"precision": 60.0, "recall": 100.0, "iou": 61.0}
    found = class_contradictions(row, where="monocyte")
    assert [str(one) for one in found] == [
        "monocyte: iou 61.00, precision and recall give IoU: 60.00",
        "monocyte: iou 61.00, IoU <= precision and recall: 0.00 to 60.00",
    ]


def test_means_have_bounds_on_both_sides():
    assert not mean_contradictions({"mF1": 50.0, "mIoU": 49.9})
    low = iou_of_f1(50.0)
    assert not mean_contradictions({"mF1": 50.0, "mIoU": low})
    assert mean_contradictions({"mF1": 50.0, "mIoU": low - 0.01})
    for key in MEANS[:3]:
        assert mean_contradictions({key: 50.0, "mIoU": 50.01})


@pytest.fixture
def results():
    matrix = next(itertools.islice(matrices(), 7, None))
    found = scores(matrix)
    return {
        "metrics": found.metrics,
        "per_class": found.per_class,
        "confusion": matrix.tolist(),
    }


def test_a_results_file_is_held_against_its_confusion_matrix(results):
    assert results_contradictions(results) == []
    for part, key in itertools.product(("metrics", "class"), range(3)):
        changed = copy.deepcopy(results)
        name = list(changed["per_class"])[key]
        row = changed["metrics"] if part == "metrics" else changed["per_class"][name]
        own = list(row)[key]
        row[own] = (row[own] or 0.0) + 1e-6
        found = [one.rule for one in results_contradictions(changed)]
        assert "the confusion matrix gives" in found


def test_a_figure_that_is_missing_or_should_be_is_found(results):
    results["metrics"]["mIoU"] = None
    found = results_contradictions(results)
    assert [one.key for one in found] == ["mIoU"]


def test_all_committed_results_are_free_of_contradictions(project_root):
    files = sorted((project_root / "results").glob("*/*.json"))
    loaded = {path: json.loads(path.read_text()) for path in files}
    runs = {path: content for path, content in loaded.items() if "confusion" in content}
    assert runs
    for path, content in runs.items():
        assert not results_contradictions(content), path
        for row in content["per_class"].values():
            printed = {k: None if row[k] is None else round(row[k], 2) for k in KEYS}
            assert not class_contradictions(printed, digits=2), path
