"""Single cells out of foreground."""

from __future__ import annotations

import numpy as np
import pytest
from painted_network import disc

from leuko_mm.datasets.converters.synthetic import render_cell, slide_style
from leuko_mm.inference import cells as module
from leuko_mm.inference.cells import find_cell_masks

SHAPE = (120, 200)


def found(mask, *, red_cell_px=26.0, min_area=260.0):
    foreground = mask.astype(np.uint8)
    cells = list(
        find_cell_masks(foreground, red_cell_px=red_cell_px, min_area=min_area)
    )
    assert not foreground.any(), "the foreground is used up"
    return cells


def pasted(cells, shape):
    """Return instances; cells must not overlap."""
    out = np.zeros(shape, int)
    for number, (box, mask) in enumerate(cells, start=1):
        x0, y0, x1, y1 = box
        assert not out[y0:y1, x0:x1][mask].any()
        out[y0:y1, x0:x1][mask] = number
    return out


@pytest.mark.parametrize("distance", [44, 48, 50, 55])
@pytest.mark.parametrize("second", [25, 30])
def test_two_touching_cells_are_two(distance, second):
    one = disc(SHAPE, 60, 60, 30)
    other = disc(SHAPE, 60 + distance, 62, second)
    both = found(one | other)
    assert len(both) == 2
    out = pasted(both, SHAPE)
    np.testing.assert_array_equal(out > 0, one | other)
    for middle in ((60, 60), (62, 60 + distance)):
        own = out == out[middle]
        truth = one if middle == (60, 60) else other
        assert (own & truth).sum() / (own | truth).sum() > 0.8


def test_three_cells_in_a_row_are_three():
    mask = disc(SHAPE, 35, 60, 25) | disc(SHAPE, 80, 60, 25) | disc(SHAPE, 125, 60, 25)
    assert len(found(mask)) == 3


def test_one_bent_or_lobed_cell_is_one():
    kidney = disc(SHAPE, 80, 60, 32) & ~disc(SHAPE, 80, 25, 14)
    assert len(found(kidney)) == 1
    oval = disc(SHAPE, 80, 60, 28) | disc(SHAPE, 100, 60, 28)
    assert len(found(oval)) == 1
    lobed = oval | disc(SHAPE, 90, 40, 12) | disc(SHAPE, 92, 84, 11)
    assert len(found(lobed)) == 1


@pytest.mark.parametrize("kind", ["neutrophil", "monocyte", "eosinophil"])
def test_a_drawn_cell_is_one_however_it_is_shaped(kind):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        _, mask = render_cell(kind, slide_style(0, seed), rng, size=128)
        assert len(found(mask > 0)) == 1


def test_specks_and_platelets_are_left_out_but_not_cut_cells():
    speck, platelet = disc(SHAPE, 20, 20, 3), disc(SHAPE, 60, 20, 8)
    cut = disc(SHAPE, 200, 60, 11)
    (kept,) = found(speck | platelet | cut, min_area=260)
    assert kept.box[2] == SHAPE[1]
    assert found(disc(SHAPE, 60, 60, 3), min_area=0)


@pytest.mark.parametrize("strip", [16, 50, 119, 120, 500])
def test_strips_change_nothing(monkeypatch, strip):
    rng = np.random.default_rng(1)
    mask = np.zeros((300, 200), bool)
    for _ in range(25):
        x, y = rng.uniform(0, 200), rng.uniform(0, 300)
        mask |= disc(mask.shape, x, y, rng.uniform(4, 7))
    whole = {(c.box, c.mask.tobytes()) for c in module._pieces(mask.astype("u1"))}
    tallest = max(box[3] - box[1] for box, _ in whole)
    if strip <= tallest:
        pytest.skip("a piece is taller")
    parts = [
        (c.box, c.mask.tobytes())
        for c in module._pieces(mask.astype("u1"), strip=strip)
    ]
    assert len(parts) == len(whole)
    assert set(parts) == whole


def test_a_piece_taller_than_a_strip_is_cut_and_not_lost():
    mask = np.ones((100, 5), np.uint8)
    boxes = [piece.box for piece in module._pieces(mask, strip=30)]
    assert boxes == [(0, 0, 5, 30), (0, 30, 5, 60), (0, 60, 5, 90), (0, 90, 5, 100)]
