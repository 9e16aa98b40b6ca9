"""A composed smear has what a field has: none, several, touching, cut, platelets."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.layouts import (
    SmearOdds,
    in_common_light,
    lay_smear,
    paint_platelets,
)

SIDE, SIZE = 32, 64


def tile(value=5, *, at=(10, 22), ignored=False):
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    where = np.s_[at[0] : at[1], at[0] : at[1]]
    image[where], labels[where] = 40 + value, value
    if ignored:
        labels[0:2] = 255
    return image, labels


def laid(seed, tiles=None, **odds):
    rng = np.random.default_rng(seed)
    tiles = tiles or [tile(value) for value in (1, 2, 3, 4)]
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


def test_cells_touch_where_that_is_asked_for():
    def contacts(seed, **odds):
        labels = laid(seed, bare=0, cut=0, platelets=0, **odds).labels.astype(int)
        sides = ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
        return sum(int(((a != b) & (a > 0) & (b > 0)).sum()) for a, b in sides)

    assert sum(contacts(seed, touching=1.0) > 0 for seed in range(8)) >= 3


def test_a_cut_cell_loses_a_part_at_the_border():
    seen = [
        laid(s, [tile(1)], bare=0, touching=0, cut=1, platelets=0) for s in range(6)
    ]
    for one in seen:
        count = int((one.labels == 1).sum())
        assert 0.25 * 144 < count < 0.9 * 144
        edges = (one.labels[0], one.labels[-1], one.labels[:, 0], one.labels[:, -1])
        assert any(edge.any() for edge in edges)


def test_a_cell_that_its_tile_cuts_off_is_at_the_border():
    for rows, columns, side in (((8, 20), (0, 10), 0), ((20, 32), (12, 22), 3)):
        image, labels = np.full((SIDE, SIDE, 3), 200, np.uint8), tile(0)[1]
        labels[slice(*rows), slice(*columns)] = 1
        for seed in range(5):
            one = laid(seed, [(image, labels)], bare=0, touching=0, platelets=0)
            assert one.boxes[0][side] == (0 if side == 0 else SIZE)


def test_what_is_to_be_ignored_stays_ignored():
    for seed in range(4):
        odds = dict(bare=0, touching=0, cut=0, platelets=0)
        labels = laid(seed, [tile(1, ignored=True)], **odds).labels
        # The two upper rows of its tile, where they are in the mosaic.
        cell = np.argwhere(labels == 1).min(axis=0) - 10
        expected = np.zeros_like(labels, bool)
        rows = slice(max(0, cell[0]), max(0, cell[0] + 2))
        expected[rows, max(0, cell[1]) : max(0, cell[1] + SIDE)] = True
        assert ((labels == 255) == expected).all()


def test_pieces_that_augmentation_mirrored_are_not_shown():
    image, labels = tile(3)
    image[:6, :6], labels[:6, :6] = 43, 3
    one = laid(2, [(image, labels)], bare=0, touching=0, cut=0, platelets=0)
    assert (one.labels == 3).sum() == 144
    assert (one.image == 43).all(axis=2).sum() == 144


def test_platelets_change_the_image_and_no_label():
    with_them, without = (laid(3, bare=0.0, platelets=p) for p in (8, 0))
    assert (with_them.labels == without.labels).all()
    changed = (with_them.image != without.image).any(axis=2)
    assert changed.any()
    assert not changed[with_them.labels > 0].any()


def test_no_seam_is_left_in_the_background():
    labels = np.zeros((64, 64), np.uint8)
    labels[24:44, 24:44] = 5
    tiles = [(np.full((64, 64, 3), grey, np.uint8), labels) for grey in (120, 220) * 2]
    odds = SmearOdds(bare=0, touching=0, cut=0, platelets=0, light=0)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mosaic = lay_smear(tiles, n=2, size=128, rng=rng, odds=odds)
        grey = np.where(mosaic.labels == 0, mosaic.image[..., 0].astype(float), np.nan)
        assert 119 <= np.nanmin(grey) < np.nanmax(grey) <= 221
        for axis in (0, 1):
            sharp = np.abs(np.diff(grey, axis=axis)) > 20
            # Side by side, the two greys would meet along the whole of one line.
            assert sharp.mean(axis=1 - axis).max() < 0.5


def test_the_light_of_one_tile_is_given_to_the_others():
    dark, light = (np.full((4, 4, 3), v, np.uint8) for v in (100, 150))
    labels = np.zeros((4, 4), np.uint8)
    bare = (dark, np.ones_like(labels))
    tiles = in_common_light([(dark, labels), (light, labels), bare], leader=1)
    assert [int(image[0, 0, 0]) for image, _ in tiles] == [150, 150, 100]


def test_platelets_need_a_nucleus_and_room():
    cell = np.full((SIDE, SIDE, 3), 80, np.uint8), np.full((SIDE, SIDE), 3, np.uint8)
    bare = tile(0)[0], np.zeros((SIDE, SIDE), np.uint8)
    for tiles, ignored, painted in (([cell], 0, 1), ([bare], 0, 0), ([cell], 255, 0)):
        image = np.full((SIZE, SIZE, 3), 200, np.uint8)
        labels = np.full((SIZE, SIZE), ignored, np.uint8)
        paint_platelets(image, labels, tiles, count=5, rng=np.random.default_rng(0))
        assert bool((image != 200).any()) == painted
        assert image.min() >= 80


@pytest.mark.parametrize("odds", [dict(bare=2), dict(touching=0.8, cut=0.4)])
def test_odds_that_are_none_are_refused(odds):
    with pytest.raises(ValueError, match="expected probabilities"):
        SmearOdds(**odds)
