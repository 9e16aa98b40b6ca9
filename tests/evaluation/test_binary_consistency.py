import numpy as np
import pytest

from leuko_mm.evaluation.binary_consistency import binary_contradictions, binary_miou
from leuko_mm.evaluation.confusion import scores


def printed_rows(count=200, digits=2):
    random = np.random.default_rng(0)
    for _ in range(count):
        cell = random.integers(1_000, 30_000)
        wrong = random.integers(1, cell // 4, 2)
        matrix = [[100_000 - cell - wrong[0], wrong[0]], [wrong[1], cell - wrong[1]]]
        found = scores(matrix)
        row = {
            key: found.per_class["leukocyte"][key]
            for key in ("precision", "recall", "f1", "iou")
        }
        row |= {
            "mIoU": found.metrics["mIoU"],
            "accuracy": found.metrics["pixel_accuracy"],
        }
        yield row if digits is None else {k: round(v, digits) for k, v in row.items()}


@pytest.mark.parametrize("digits", [None, 2, 1])
def test_what_a_confusion_matrix_gives_never_contradicts_itself(digits):
    for row in printed_rows(digits=digits):
        assert not binary_contradictions(row, digits=digits)


def test_precision_recall_and_accuracy_give_the_mean_iou():
    for row in printed_rows(digits=None):
        figures = (row[key] for key in ("precision", "recall", "accuracy"))
        assert binary_miou(*figures) == pytest.approx(row["mIoU"], abs=1e-6)


def test_a_changed_mean_is_found():
    row = next(printed_rows())
    for change in (-0.3, 0.3):
        found = binary_contradictions({**row, "mIoU": row["mIoU"] + change}, digits=2)
        rules = [one.rule for one in found]
        assert rules == ["precision, recall and accuracy give mIoU"]


def test_a_background_cannot_be_more_than_perfect():
    row = {"precision": 90.0, "recall": 90.0, "mIoU": 91.0}
    assert not binary_contradictions({**row, "mIoU": 90.9}, digits=1)
    assert len(binary_contradictions({**row, "mIoU": 91.5}, digits=1)) == 1


def test_without_a_mean_only_the_class_is_looked_at():
    assert binary_contradictions({"precision": 90.0, "recall": 90.0}) == []
    row = {"precision": 90.0, "recall": 90.0, "f1": 80.0}
    assert {one.key for one in binary_contradictions(row)} == {"f1"}


def test_no_matrix_has_more_errors_than_its_pixels_allow():
    assert np.isnan(binary_miou(99.0, 99.0, 10.0))
    row = {"precision": 99.0, "recall": 99.0, "accuracy": 10.0, "mIoU": 70.0}
    assert len(binary_contradictions(row, digits=0)) == 1
    assert binary_miou(100.0, 100.0, 100.0) == 100.0
    assert np.isnan(binary_miou(100.0, 100.0, 99.0))
