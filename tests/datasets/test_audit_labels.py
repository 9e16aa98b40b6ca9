"""Findings about the values of one mask."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.classes import BINARY_NAMES
from leuko_mm.datasets.audit_labels import label_findings

SOUND = np.array([[0, 1], [1, 0]], np.uint8)


def rules(labels, class_name="basophil", **more) -> list[str]:
    return [f.rule for f in label_findings("m.png", labels, class_name, **more)]


def words(labels, class_name="basophil") -> str:
    (finding,) = label_findings("m.png", labels, class_name, stem="m")
    assert finding.file == "m.png"
    assert finding.stems == ("m",)
    return finding.words


def test_a_sound_mask_has_no_findings():
    assert rules(SOUND) == rules(SOUND.astype(bool)) == rules(SOUND, "baso") == []


@pytest.mark.parametrize(("value", "type_"), [(6, np.uint8), (254, np.uint8)])
def test_a_value_outside_the_classes_is_named_with_its_count(value, type_):
    labels = np.array([[0, 1], [value, value]], type_)
    text = words(labels)
    assert text == f"value {value} on 2 pixel(s); expected 0 to 5, or 255 to ignore"


@pytest.mark.parametrize(
    ("labels", "rule", "text"),
    [
        ([[0, 0]], "empty-mask", "holds background only, but the index says basophil"),
        ([[0, 3]], "class-mismatch", "holds lymphocyte, but the index says basophil"),
        ([[0, 255]], "only-ignored", "only 0 and 255"),
        ([[255, 255]], "only-ignored", "only 0 and 255"),
        ([[1, 1]], "full-mask", "basophil on every pixel"),
        ([[0, 1, 2]], "several-classes", "beside basophil also eosinophil on 1"),
        ([[0, 1, 1, 255]], "ignored-pixels", "1 pixel(s), 25.0% of the picture"),
    ],
)
def test_each_fault_has_its_rule(labels, rule, text):
    labels = np.array(labels, np.uint8)
    assert rules(labels) == [rule]
    assert text in words(labels)


def test_the_fringe_of_a_brush_is_no_second_class():
    labels = np.ones((10, 20), np.uint8)
    labels[0], labels[5, :3] = 0, 2
    assert rules(labels) == []
    labels[5, :5] = 2
    assert rules(labels) == ["several-classes"]


def test_a_field_may_hold_any_cells_or_none():
    assert rules(np.array([[0, 1, 5, 255]], np.uint8), "") == []
    assert rules(np.array([[255]], np.uint8), "") == []
    assert rules(np.array([[9]], np.uint8), "") == ["strange-label"]


def test_a_binary_dataset_knows_one_class():
    two = dict(classes=BINARY_NAMES)
    assert rules(SOUND, "leukocyte", **two) == rules(SOUND, "eosinophil", **two) == []
    assert rules(SOUND * 2, "leukocyte", **two) == ["strange-label"]
    assert rules(SOUND * 0, "leukocyte", **two) == ["empty-mask"]
