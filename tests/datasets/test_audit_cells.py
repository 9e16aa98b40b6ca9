"""Findings about the shape of what a mask marks."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.audit_cells import cell_areas, cell_findings


@pytest.fixture
def labels() -> np.ndarray:
    """Return a mask with one cell of 400 pixels in its middle."""
    labels = np.zeros((64, 64), np.uint8)
    labels[22:42, 22:42] = 3
    return labels


def rules(labels) -> list[str]:
    return [f.rule for f in cell_findings("m.png", labels)]


def test_one_whole_cell_is_sound(labels):
    assert rules(labels) == []
    assert rules(np.zeros((8, 8), np.uint8)) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (np.s_[0:9, 30:37], "7 px top"),
        (np.s_[50:64, 30:37], "7 px bottom"),
        (np.s_[30:37, 0:22], "7 px left"),
        (np.s_[57:64, 58:64], "6 px bottom, 7 px right"),
    ],
)
def test_a_cell_on_the_border_is_named_with_its_sides(labels, where, words):
    labels[where] = 3
    (cut,) = [f for f in cell_findings("m", labels, stem="m") if f.rule == "cut-cell"]
    assert cut.words == f"on the border: {words}"
    assert cut.stems == ("m",)
    assert cut.severity == "note"


def test_ignored_pixels_on_the_border_cut_nothing(labels):
    labels[0] = 255
    assert rules(labels) == []


def test_a_crumb_is_no_second_cell_but_a_large_piece_is(labels):
    labels[50:55, 50:55] = 3
    assert rules(labels) == []
    labels[50:60, 50:60] = 2
    (finding,) = cell_findings("m", labels)
    assert finding.rule == "several-cells"
    assert finding.words == "2 separate pieces of 400, 100 pixels"


def test_pieces_that_touch_at_a_corner_are_one():
    assert cell_areas(np.array([[1, 0], [0, 1]], bool)) == [2]
    assert cell_areas(np.zeros((3, 3), bool)) == []
