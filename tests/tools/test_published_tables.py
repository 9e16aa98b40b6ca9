"""What printed tables imply, and which of their rows contradict themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.comparison.paper_tables import (
    binary_miou,
    implied_f1,
    implied_iou,
    iou_of_f1,
    load_published,
)
from leuko_mm.evaluation.confusion import scores

TOOL = load_tool("paper/published_tables")
KEYS = ("precision", "recall", "f1", "iou")


@pytest.fixture(scope="module")
def tables():
    return {table.table: table for table in TOOL.check_published()}


def matrices(count=200):
    """Return random confusion matrices, some with classes that are absent or missed."""
    random = np.random.default_rng(0)
    for _ in range(count):
        matrix = random.integers(0, 10 ** random.integers(1, 5), (6, 6))
        matrix[:, random.random(6) < 0.2] = 0
        matrix[random.random(6) < 0.2] = 0
        yield matrix


def rounded(row, digits):
    if digits is None:
        return row
    return {k: None if v is None else round(v, digits) for k, v in row.items()}


@pytest.mark.parametrize("digits", [None, 3, 2, 1, 0])
def test_a_confusion_matrix_never_contradicts_itself(digits):
    for matrix in matrices():
        found = scores(matrix)
        means = rounded(found.metrics, digits)
        assert not TOOL.mean_contradictions(means, digits=digits)
        for row in found.per_class.values():
            assert not TOOL.class_contradictions(rounded(row, digits), digits=digits)


@pytest.mark.parametrize("key", KEYS)
def test_a_score_changed_by_more_than_rounding_is_found(key):
    row = {"precision": 80.0, "recall": 70.0}
    row = {**row, "f1": implied_f1(80, 70), "iou": implied_iou(80, 70)}
    assert not TOOL.class_contradictions(row)
    for change in (-0.03, 0.03):
        changed = {**row, key: row[key] + change}
        assert TOOL.class_contradictions(changed)
        assert TOOL.class_contradictions(rounded(changed, 2), digits=2)
        assert not TOOL.class_contradictions(rounded(changed, 2), digits=1)


def test_rounding_is_allowed_for_and_no_more():
    # 2 * 50 * 50.01 / 100.01 is 50.005: either way of rounding may be printed.
    for f1 in (50.0, 50.01):
        row = {"precision": 50.0, "recall": 50.01, "f1": f1}
        assert not TOOL.class_contradictions(row, digits=2)
    assert TOOL.class_contradictions({**row, "f1": 50.02}, digits=2)


def test_means_have_bounds_on_both_sides():
    low = iou_of_f1(50.0)
    assert not TOOL.mean_contradictions({"mF1": 50.0, "mIoU": 49.9})
    assert not TOOL.mean_contradictions({"mF1": 50.0, "mIoU": low})
    assert TOOL.mean_contradictions({"mF1": 50.0, "mIoU": low - 0.01})
    for key in ("mPrecision", "mRecall", "mF1"):
        assert TOOL.mean_contradictions({key: 50.0, "mIoU": 50.01})


def binary_rows(count=200):
    random = np.random.default_rng(0)
    for _ in range(count):
        cell = random.integers(1_000, 30_000)
        wrong = random.integers(1, cell // 4, 2)
        matrix = [[100_000 - cell - wrong[0], wrong[0]], [wrong[1], cell - wrong[1]]]
        found = scores(matrix)
        row = {key: found.per_class["leukocyte"][key] for key in KEYS}
        row["accuracy"] = found.metrics["pixel_accuracy"]
        yield {**row, "mIoU": found.metrics["mIoU"]}


@pytest.mark.parametrize("digits", [None, 2, 1])
def test_a_binary_confusion_never_contradicts_itself(digits):
    for row in binary_rows():
        assert not TOOL.binary_contradictions(rounded(row, digits), digits=digits)
        sides = (row[key] for key in ("precision", "recall", "accuracy"))
        assert binary_miou(*sides) == pytest.approx(row["mIoU"], abs=1e-6)


def test_a_changed_binary_mean_is_found():
    row = rounded(next(binary_rows()), 2)
    for change in (-0.3, 0.3):
        changed = {**row, "mIoU": row["mIoU"] + change}
        rules = [c.rule for c in TOOL.binary_contradictions(changed, digits=2)]
        assert rules == ["precision, recall and accuracy give mIoU"]
    # The background cannot be better than perfect.
    row = {"precision": 90.0, "recall": 90.0, "mIoU": 91.5}
    assert len(TOOL.binary_contradictions(row, digits=1)) == 1
    assert not TOOL.binary_contradictions({**row, "mIoU": 90.9}, digits=1)


def test_no_matrix_has_more_errors_than_its_pixels_allow():
    assert np.isnan(binary_miou(99.0, 99.0, 10.0))
    assert binary_miou(100.0, 100.0, 100.0) == 100.0
    assert np.isnan(binary_miou(100.0, 100.0, 99.0))


def test_committed_results_agree_with_their_confusion_matrices(project_root):
    files = sorted((project_root / "results").glob("*/*.json"))
    loaded = {path: json.loads(path.read_text()) for path in files}
    runs = {path: content for path, content in loaded.items() if "confusion" in content}
    assert runs
    for path, content in runs.items():
        again = scores(content["confusion"], list(content["per_class"]))
        metrics = {key: content["metrics"][key] for key in again.metrics}
        assert metrics == pytest.approx(again.metrics, abs=1e-9), path
        assert not TOOL.mean_contradictions(content["metrics"]), path
        for name, row in again.per_class.items():
            printed = {key: content["per_class"][name][key] for key in row}
            assert printed == pytest.approx(row, abs=1e-9), (path, name)
            assert not TOOL.class_contradictions(rounded(printed, 2), digits=2), path


def test_printed_scores_are_as_printed():
    tables = {t["table"]: t["rows"] for t in load_published()["tables"]}
    assert {t: len(rows) for t, rows in tables.items()} == {
        "1": 20,
        "2": 20,
        "3": 7,
        "4": 2,
    }
    own = {r["class"]: r["iou"] for r in tables["1"] if r["config"] == "cbam_unet"}
    printed = [91.31, 90.08, 88.94, 89.24, 92.07]
    assert own == dict(zip(CLASS_NAMES[1:], printed, strict=True))
    robust = [r["mIoU"] for r in tables["2"] if r["config"] == "cbam_unet"]
    assert robust == [98.77, 99.73, 98.34, 96.53]
    assert [(r["mIoU"], r["accuracy"]) for r in tables["3"]] == [
        (72.58, 95.31),
        (85.06, 96.11),
        (83.57, 95.92),
        (80.40, 95.80),
        (87.89, 96.48),
        (88.54, 97.59),
        (91.89, 99.53),
    ]
    assert [(r["mIoU"], r["accuracy"]) for r in tables["4"]] == [
        (91.89, 99.53),
        (86.34, 95.18),
    ]


def test_table_1_prints_more_iou_than_its_precision_and_recall_give(tables):
    rows = tables["1"].rows
    assert all(row.contradictions for row in rows)
    above = {"unet_vgg16": 3.5, "deeplabv3plus_r50": 3.5, "pspnet_r50": 3.0}
    for checked in rows:
        excess = checked.row["iou"] - checked.implied["iou"]
        assert checked.implied["f1"] == pytest.approx(checked.row["f1"], abs=0.01)
        if checked.row["config"] in above:
            assert excess == pytest.approx(above[checked.row["config"]], abs=0.02)
        else:
            assert 3.1 < excess < 13.5


def test_table_2_needs_a_background_above_100(tables):
    dataset2 = next(
        row
        for row in tables["2"].rows
        if (row.row["dataset"], row.row["config"]) == ("Dataset2", "cbam_unet")
    )
    assert {one.rule for one in dataset2.contradictions} == {
        "mIoU <= (100 + IoU of leukocytes) / 2",
        "precision, recall and accuracy give mIoU",
        "read as means over the same classes or images, "
        "mIoU <= mean precision, recall and F1",
    }


def test_tables_3_and_4_rest_on_the_classes_of_table_1(tables):
    for checked in (tables["3"].rows[-1], tables["4"].rows[0]):
        assert checked.implied["background_iou"] == pytest.approx(99.70, abs=0.01)
        assert checked.implied["class_mIoU"] == pytest.approx(85.28, abs=0.01)
        assert not checked.contradictions
    assert tables["3"].rows[1].implied == {}
