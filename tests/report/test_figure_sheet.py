"""Pictures in named columns and rows."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.report.figure_sheet import GAP, MARGIN, figure_sheet

RED = np.full((10, 10, 3), (255, 0, 0), np.uint8)


def reds(sheet):
    return int((sheet == (255, 0, 0)).all(axis=2).sum())


def test_every_picture_is_there_at_its_size():
    sheet = figure_sheet([[RED, RED], [RED, None]], ["a", "b"], tile=40)
    assert reds(sheet) == 3 * 40 * 40


def test_columns_that_do_not_fit_go_below():
    one = figure_sheet([[RED] * 4], list("abcd"), tile=40)
    two = figure_sheet([[RED] * 4], list("abcd"), tile=40, per_band=2)
    assert two.shape[1] == 2 * 40 + GAP + 2 * MARGIN < one.shape[1]
    assert reds(one) == reds(two) == 4 * 40 * 40


def test_names_and_colours_take_their_room():
    bare = figure_sheet([[RED]], [""], tile=40)
    named = figure_sheet([[RED]], [""], row_names=["a row"], tile=40)
    wider = figure_sheet([[RED]], [""], name_width=90, tile=40)
    assert bare.shape[1] < named.shape[1] < wider.shape[1]
    legend = dict(basophil=(1, 2, 3), monocyte=(4, 5, 6))
    legended = figure_sheet([[RED]], [""], tile=40, legend=legend)
    for colour in legend.values():
        assert (legended == colour).all(axis=2).any()
    # Side by side they would be wider than the sheet: one below the other.
    assert legended.shape[0] > bare.shape[0] + 2 * 19


def test_proportions_are_kept():
    wide = np.full((10, 40, 3), (255, 0, 0), np.uint8)
    assert reds(figure_sheet([[wide]], [""], tile=40)) == 40 * 10


@pytest.mark.parametrize(
    ("rows", "columns", "more", "said"),
    [
        ([], ["a"], {}, "at least one row"),
        ([[RED], [RED, RED]], ["a"], {}, r"\[1, 2\] pictures under 1 columns"),
        ([[RED]], ["a"], dict(row_names=["b", "c"]), "2 names for 1 rows"),
        ([[RED[..., 0]]], ["a"], {}, r"\(10, 10\) uint8"),
    ],
)
def test_what_does_not_fit_is_refused(rows, columns, more, said):
    with pytest.raises((ValueError, IndexError), match=said):
        figure_sheet(rows, columns, **more)
