"""Scattered mosaics: exact labels, no straight seam, no leukocyte without a label.

A composed smear has what a field has: none, several, touching, cut, platelets.
"""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.layouts import lay_scattered
from leuko_mm.datasets.smear import SmearOdds, lay_smear

CELL = (200, 0, 0)


def tile(grey: int, side: int, box: tuple[int, int, int, int], label: int = 5):
    """Return a tile of one grey with a red cell in it; its green tells the pixel."""
    x0, y0, x1, y1 = box
    image = np.full((side, side, 3), grey, np.uint8)
    labels = np.zeros((side, side), np.uint8)
    image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = CELL, label
    image[y0:y1, x0:x1, 1] = (
        np.arange((y1 - y0) * (x1 - x0)).reshape(y1 - y0, x1 - x0) % 60
    )
    return image, labels


def tiles_of(n: int, side: int) -> list:
    rng = np.random.default_rng(n)
    made = []
    for number in range(n * n):
        x, y = rng.integers(4, side // 2 - 4, 2).tolist()
        w, h = rng.integers(side // 6, side // 3, 2).tolist()
        made.append(
            tile(120 + 100 * (number % 2), side, (x, y, x + w, y + h), 1 + number % 5)
        )
    return made


def laid_out(tiles, n, size, seed=0):
    rng = np.random.default_rng(seed)
    return lay_scattered(tiles, n=n, size=size, rng=rng)


@pytest.mark.parametrize(("n", "size"), [(1, 40), (2, 96), (3, 100), (4, 130)])
@pytest.mark.parametrize("seed", [0, 1])
def test_labels_are_exact_and_every_box_holds_its_cell_alone(n, size, seed):
    tiles = tiles_of(n, size // n)
    laid = laid_out(tiles, n, size, seed)
    assert laid.image.shape == (size, size, 3)
    assert len(laid.boxes) == n * n
    elsewhere = laid.labels.copy()
    for (image, labels), (x0, y0, x1, y1) in zip(tiles, laid.boxes, strict=True):
        marked = labels != 0
        part = laid.labels[y0:y1, x0:x1]
        assert part.size == marked.sum()  # the cells of this test fill their boxes
        assert (part.ravel() == labels[marked]).all()
        assert (laid.image[y0:y1, x0:x1].reshape(-1, 3) == image[marked]).all()
        elsewhere[y0:y1, x0:x1] = 0
    assert not elsewhere.any()


def test_no_seam_is_left_in_the_background():
    side, size = 64, 128
    tiles = [tile(grey, side, (24, 24, 44, 44)) for grey in (120, 220, 120, 220)]
    for seed in range(4):
        laid = laid_out(tiles, 2, size, seed)
        grey = np.where(laid.labels == 0, laid.image[..., 2].astype(float), np.nan)
        for axis in (0, 1):
            sharp = np.abs(np.diff(grey, axis=axis)) > 20
            # Side by side, the two greys would meet along the whole of one line.
            assert sharp.mean(axis=1 - axis).max() < 0.25
        assert np.nanmin(grey) >= 119
        assert np.nanmax(grey) <= 221


def test_no_leukocyte_stands_where_no_label_does():
    for seed in range(4):
        laid = laid_out(tiles_of(3, 40), 3, 120, seed)
        outside = laid.image[laid.labels == 0].astype(int)
        redness = outside[:, 0] - outside[:, 2]
        assert redness.max() <= 1, seed


def test_every_place_is_reached_and_given_by_the_generator():
    tiles = [tile(200, 32, (8, 8, 20, 20))] * 4
    middles = np.array([laid_out(tiles, 2, 64, s).boxes[0][:2] for s in range(60)])
    assert middles.min() < 8
    assert middles.max() > 64 - 12 - 8
    first, again = laid_out(tiles, 2, 64, 5), laid_out(tiles, 2, 64, 5)
    assert (first.image == again.image).all()
    assert first.boxes == again.boxes


def test_a_cell_that_its_tile_cuts_off_stands_at_the_border():
    cut = tile(200, 32, (0, 8, 10, 20)), tile(200, 32, (12, 20, 22, 32))
    for seed in range(5):
        laid = laid_out(cut, 2, 64, seed)
        assert laid.boxes[0][0] == 0
        assert laid.boxes[1][3] == 64


def test_cells_that_fill_their_tiles_find_slots():
    tiles = [tile(200, 32, (0, 0, 32, 32), label) for label in (1, 2, 3, 4)]
    laid = laid_out(tiles, 2, 64)
    assert sorted(laid.boxes) == [
        (0, 0, 32, 32),
        (0, 32, 32, 64),
        (32, 0, 64, 32),
        (32, 32, 64, 64),
    ]
    assert np.bincount(laid.labels.ravel()).tolist() == [0, 1024, 1024, 1024, 1024]


def test_ignored_pixels_stay_ignored_and_an_empty_tile_is_only_background():
    ignored = tile(200, 32, (8, 8, 20, 20), 255)
    empty = tile(200, 32, (8, 8, 8, 8))
    laid = laid_out([ignored, empty], 2, 64)
    assert np.unique(laid.labels).tolist() == [0, 255]
    assert (laid.labels == 255).sum() == 144
    assert abs(int(laid.image[laid.labels == 0].min()) - 200) <= 1


def test_fewer_cells_than_places_cover_the_whole_mosaic():
    laid = laid_out([tile(200, 16, (5, 5, 9, 9))], 4, 64)
    assert abs(laid.image[laid.labels == 0].astype(int) - 200).max() <= 1
    assert laid_out([], 4, 64).boxes == []


SIDE, SIZE = 32, 64


def tile_smear_layout(value=5, *, at=(10, 22), ignored=False):
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    where = np.s_[at[0] : at[1], at[0] : at[1]]
    image[where], labels[where] = 40 + value, value
    if ignored:
        labels[0:2] = 255
    return image, labels


def laid(seed, tiles=None, **odds):
    rng = np.random.default_rng(seed)
    tiles = tiles or [tile_smear_layout(value) for value in (1, 2, 3, 4)]
    return lay_smear(tiles, n=2, size=SIZE, rng=rng, odds=SmearOdds(**odds))


def test_a_bare_smear_shows_no_leukocyte_and_no_trace_of_one():
    one = laid(0, bare=1, platelets=0)
    assert not one.labels.any()
    assert one.image.min() >= 195
    assert one.boxes == [(0, 0, 0, 0)] * 4


def test_labels_are_exact_and_boxes_hold_them():
    for seed in range(5):
        one = laid(seed, bare=0, touching=0, cut=0, platelets=0)
        for value in (1, 2, 3, 4):
            found = one.labels == value
            assert found.sum() in (0, *range(137, 145))
            assert (one.image[found] == 40 + value).all()
            x0, y0, x1, y1 = one.boxes[value - 1]
            assert found.sum() == found[y0:y1, x0:x1].sum()
            assert bool(found.any()) == (x1 > x0)


def test_the_number_of_cells_varies():
    counts = {len(np.unique(laid(s, bare=0).labels)) - 1 for s in range(12)}
    assert len(counts) >= 3


def test_cells_touch_where_that_is_asked_for():
    def contacts(seed, **odds):
        labels = laid(seed, bare=0, cut=0, platelets=0, **odds).labels.astype(int)
        sides = ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
        return sum(int(((a != b) & (a > 0) & (b > 0)).sum()) for a, b in sides)

    assert sum(contacts(seed, touching=1.0) > 0 for seed in range(8)) >= 3


def test_a_cut_cell_loses_a_part_at_the_border():
    seen = [
        laid(s, [tile_smear_layout(1)], bare=0, touching=0, cut=1, platelets=0)
        for s in range(6)
    ]
    for one in seen:
        count = int((one.labels == 1).sum())
        assert 0.25 * 144 < count < 0.9 * 144
        edges = (one.labels[0], one.labels[-1], one.labels[:, 0], one.labels[:, -1])
        assert any(edge.any() for edge in edges)


def test_what_is_to_be_ignored_stays_ignored():
    for seed in range(4):
        odds = dict(bare=0, touching=0, cut=0, platelets=0)
        labels = laid(seed, [tile_smear_layout(1, ignored=True)], **odds).labels
        # The two upper rows of its tile, where they are in the mosaic.
        cell = np.argwhere(labels == 1).min(axis=0) - 10
        expected = np.zeros_like(labels, bool)
        rows = slice(max(0, cell[0]), max(0, cell[0] + 2))
        expected[rows, max(0, cell[1]) : max(0, cell[1] + SIDE)] = True
        assert ((labels == 255) == expected).all()


def test_pieces_that_augmentation_mirrored_are_not_shown():
    image, labels = tile_smear_layout(3)
    image[:6, :6], labels[:6, :6] = 43, 3
    one = laid(2, [(image, labels)], bare=0, touching=0, cut=0, platelets=0)
    assert (one.labels == 3).sum() == 144
    assert (one.image == 43).all(axis=2).sum() == 144


def test_cells_of_many_slides_stand_in_one_light():
    dark = tile_smear_layout(2)
    dark[0][dark[1] == 0] = 150
    tiles = [tile_smear_layout(1), dark]
    ones = [laid(s, tiles, bare=0, platelets=0, light=1.0) for s in range(4)]
    for one in ones:
        assert np.ptp(one.image[one.labels == 0].astype(int)) <= 1


def test_platelets_change_the_image_and_no_label():
    with_them, without = (laid(3, bare=0.0, platelets=p) for p in (8, 0))
    assert (with_them.labels == without.labels).all()
    changed = (with_them.image != without.image).any(axis=2)
    assert changed.any()
    assert not changed[with_them.labels > 0].any()


def test_the_same_numbers_give_the_same_smear():
    assert (laid(7).image == laid(7).image).all()


@pytest.mark.parametrize("odds", [dict(bare=2), dict(touching=0.8, cut=0.4)])
def test_odds_that_are_none_are_refused(odds):
    with pytest.raises(ValueError, match="expected probabilities"):
        SmearOdds(**odds)
