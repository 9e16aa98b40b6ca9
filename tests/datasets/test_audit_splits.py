"""Findings about splits: leaks, unknown cells, absent classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from leuko_mm.datasets.audit_splits import (
    absent_classes,
    class_counts,
    divided_copies,
    divided_groups,
    leak_severity,
    same_pictures,
    unfit_split,
)
from leuko_mm.datasets.near_duplicates import NearDuplicate
from leuko_mm.datasets.prepared import read_index

FOLD, PAPER = Path("splits/fold1.csv"), Path("splits/paper.csv")
GROUPS = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
HONEST = {"a": "train", "b": "train", "c": "test", "d": "train"}
LEAKING = {"a": "train", "b": "test", "c": "test"}


def test_an_honest_split_has_no_findings():
    assert unfit_split(FOLD, HONEST, set(GROUPS)) == []
    assert divided_groups(FOLD, HONEST, GROUPS) == []
    assert divided_copies(FOLD, HONEST, [], GROUPS) == []


def test_unknown_cells_and_empty_parts_are_found():
    findings = unfit_split(FOLD, {"x": "train", "a": "train"}, set(GROUPS))
    assert [f.words for f in findings] == [
        "names 1 cell(s) that are not in the index, first 'x'",
        "leaves train or test empty",
    ]


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("fold1", "error"),
        ("mine", "error"),
        # Only the official names leak on purpose, not what begins like them.
        ("paper_fold1", "error"),
        ("random", "error"),
        ("paper", "note"),
        ("paper_mosaics", "note"),
    ],
)
def test_a_divided_group_is_an_error_but_in_the_papers_splits(name, severity):
    (finding,) = divided_groups(Path(f"splits/{name}.csv"), LEAKING, GROUPS)
    assert finding.severity == severity == leak_severity(name)
    assert "1 group(s) in train and test: s1" in finding.words
    assert ("by design" in finding.words) == (severity == "note")


def test_many_divided_groups_are_counted_and_some_named():
    groups = {f"{i}{side}": f"s{i}" for i in range(8) for side in "ab"}
    parts = {stem: "train" if stem.endswith("a") else "test" for stem in groups}
    (finding,) = divided_groups(FOLD, parts, groups)
    assert finding.words.endswith("s0, s1, s2, s3, s4 and 3 more")


def test_a_copy_on_the_other_side_is_found_where_groups_are_not():
    pairs = [NearDuplicate("a", "c", 4), NearDuplicate("a", "b", 1)]
    (finding,) = divided_copies(FOLD, {**HONEST, "b": "test"}, pairs, GROUPS)
    assert finding.stems == ("a", "c")
    assert finding.severity == "error"
    assert "a (train) shows what c (test) shows; 4 of 255 bits" in finding.words


def test_the_same_picture_twice_weighs_more_across_groups():
    pairs = [NearDuplicate("a", "c", 4), NearDuplicate("a", "b", 1)]
    across, inside = same_pictures(pairs, GROUPS)
    assert (across.severity, inside.severity) == ("warning", "note")
    assert "s1 and s2" in across.words
    assert "both of s1" in inside.words


def test_classes_are_counted_by_split_and_part(tiny_dataset):
    rows = read_index(tiny_dataset)
    parts = {row.stem: "train" for row in rows[:10]} | {rows[10].stem: "test"}
    counts = class_counts({"mine": parts}, rows)
    assert counts[""]["all"] == dict.fromkeys(
        ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"), 8
    )
    assert counts["mine"] == {
        "train": {"basophil": 8, "eosinophil": 2},
        "test": {"eosinophil": 1},
    }
    assert [str(f) for f in absent_classes(counts)] == [
        "splits/mine.csv: train has no lymphocyte, no monocyte, no neutrophil",
        "splits/mine.csv: test has no basophil, no lymphocyte, no monocyte, no "
        "neutrophil",
    ]
