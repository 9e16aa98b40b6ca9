"""Single cells out of foreground, their probabilities, and their counts."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_red_cells import disc
from predicted_fields import ColourPredictor, draw_field
from scipy.stats import binomtest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.inference import cells as module
from leuko_mm.inference.cells import (
    CellMask,
    Evidence,
    assemble,
    differential,
    find_cell_masks,
    wilson_interval,
    with_others,
)

SHAPE = (120, 200)


def found(mask, *, red_cell_px=26.0, min_area=260.0):
    foreground = mask.astype(np.uint8)
    cells = list(
        find_cell_masks(foreground, red_cell_px=red_cell_px, min_area=min_area)
    )
    assert not foreground.any(), "every cell is erased"
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


def test_the_time_of_an_area_of_touching_cells_grows_with_its_pixels():
    def seconds(side):
        """Return what a square of cells costs, so many of them a side."""
        random, mask = np.random.default_rng(0), np.zeros((50 * side,) * 2, np.uint8)
        for place in np.ndindex(side, side):
            x, y = (50 * np.array(place) + 25 + random.integers(-3, 4, 2)).tolist()
            cv2.circle(mask, (x, y), 28, 1, -1)
        begin = time.process_time()
        assert len(found(mask)) == side**2
        return time.process_time() - begin

    assert seconds(16) < 10 * seconds(8), "four times the pixels"


@pytest.mark.parametrize(
    ("start", "cut"), [(0, True), (1, True), (2, True), (3, False)]
)
def test_a_cell_within_the_blind_pixels_of_a_network_is_cut(start, cut):
    shares = np.full((3, 60, 60), 1 / 3)
    evidence = Evidence((60, 60), 3)
    evidence.add(0, shares)
    mask = np.ones((10, 10), bool)
    cells = [CellMask((start, 20, start + 10, 30), mask)]
    cells += [CellMask((20, 50 - start, 30, 60 - start), mask)]
    # One pixel of the network is four of the image.
    for cell in assemble(cells, evidence, (240, 240))[2]:
        assert cell.touches_border is cut


def test_what_is_wider_than_eight_red_cells_is_no_cell():
    mask = np.zeros((300, 300), np.uint8)
    cv2.circle(mask, (150, 150), 60, 1, -1)
    assert len(found(mask.copy(), red_cell_px=16.0)) == 1
    assert not found(mask.copy(), red_cell_px=14.0)


def test_one_bent_or_lobed_cell_is_one():
    kidney = disc(SHAPE, 80, 60, 32) & ~disc(SHAPE, 80, 25, 14)
    assert len(found(kidney)) == 1
    oval = disc(SHAPE, 80, 60, 28) | disc(SHAPE, 100, 60, 28)
    assert len(found(oval)) == 1
    lobed = oval | disc(SHAPE, 90, 40, 12) | disc(SHAPE, 92, 84, 11)
    assert len(found(lobed)) == 1


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


@pytest.mark.parametrize("total", [1, 7, 40, 1000])
def test_the_interval_is_that_of_scipy(total):
    for count in {0, 1, total // 3, total - 1, total}:
        theirs = binomtest(count, total).proportion_ci(0.95, method="wilson")
        ours = wilson_interval(count, total)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def a_prediction(*kinds, **changes):
    return replace(ColourPredictor().predict(draw_field(kinds)), **changes)


def test_cells_of_many_images_are_counted_together():
    one, other = a_prediction(5, 3), a_prediction(5, 5)
    rows = {row.name: row for row in differential(iter([one, other]))}
    assert list(rows) == list(CLASS_NAMES[1:])
    assert (rows["neutrophil"].count, rows["neutrophil"].percent) == (3, 75.0)
    assert rows["basophil"].count == 0
    with pytest.raises(ValueError, match="one model"):
        differential([one, a_prediction(classes=("background", "leukocyte"))])


def test_a_cell_counts_as_its_class_as_unsure_or_as_other():
    answers = dict(accept=0.9, names_other=True)
    found = a_prediction(5, 3, 1, 1, **answers)
    cells = [replace(cell, other=0.8 * (cell.id > 2)) for cell in found.cells]
    found = with_others(replace(found, cells=tuple(cells)))
    own = [set(found.labels[found.instances == cell.id]) for cell in found.cells]
    assert own == [{5}, {3}, {255}, {255}]
    *_, neutrophil, unsure, other = differential([found])
    assert (neutrophil.count, neutrophil.percent) == (1, 100.0)
    assert (unsure.name, unsure.count, unsure.percent) == ("unsure", 1, 50.0)
    assert (other.name, other.count, other.percent) == ("other", 2, 100.0)
    # The share of others among all four cells, as odds.
    low, high = binomtest(2, 4).proportion_ci(0.95, method="wilson")
    odds = [100 * share / (1 - share) for share in (low, high)]
    assert [other.low, other.high] == pytest.approx(odds)
    with pytest.raises(ValueError, match="one accept"):
        differential([found, replace(found, accept=0.5)])
    *classes, other = differential([replace(found, accept=0.0, cells=found.cells[2:])])
    assert {(row.count, row.percent) for row in classes} == {(0, 0.0)}
    assert np.isnan([other.percent, other.low, other.high]).all()


def random_probabilities(shape, classes=3):
    logits = np.random.default_rng(0).normal(size=(classes, *shape))
    shares = np.exp(logits)
    return (shares / shares.sum(axis=0)).astype(np.float32)


def kept(probabilities, heights, **options):
    evidence = Evidence(probabilities.shape[1:], len(probabilities), **options)
    first = 0
    for height in heights:
        evidence.add(first, probabilities[:, first : first + height])
        first += height
    return evidence


@pytest.mark.parametrize("heights", [(20,), (7, 1, 12), (1,) * 20])
def test_sums_are_those_of_the_pixels(heights):
    probabilities = random_probabilities((20, 30))
    evidence = kept(probabilities, heights)
    mask = np.random.default_rng(1).random((8, 9)) < 0.5
    sums = evidence.sums((3, 5, 12, 13), mask)
    wanted = probabilities[:, 5:13, 3:12][:, mask].sum(axis=1)
    np.testing.assert_allclose(sums, wanted, atol=mask.sum() / 500)
    np.testing.assert_array_equal(evidence.foreground, probabilities[0] < 0.5)


@pytest.mark.parametrize("heights", [(21,), (7, 1, 13)])
def test_beyond_the_limit_blocks_are_kept(heights):
    probabilities = random_probabilities((21, 32))
    evidence = kept(probabilities, heights, limit=250)
    assert evidence.block == 3
    assert evidence._kept.nbytes <= 3 * 7 * 11
    block = np.ones((3, 3), bool)
    sums = evidence.sums((3, 6, 6, 9), block)
    wanted = probabilities[:, 6:9, 3:6].sum(axis=(1, 2))
    np.testing.assert_allclose(sums, wanted, atol=0.03)
    np.testing.assert_array_equal(evidence.foreground, probabilities[0] < 0.5)
    assert np.isfinite(evidence.sums((30, 19, 32, 21), np.ones((2, 2), bool))).all()
