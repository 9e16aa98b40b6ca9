"""Balanced draws: every class alike, no cell twice, given by (seed, index) alone."""

from __future__ import annotations

from collections import Counter

import pytest

from leuko_mm.datasets.balanced_sampling import (
    compose_every_alike,
    compose_fixed_balanced,
    compose_one_balanced,
)

SIZES = {"basophil": 2, "eosinophil": 30, "lymphocyte": 9, "monocyte": 9}
CLASSES = [name for name, count in SIZES.items() for _ in range(count)]


def spread(counts) -> int:
    return max(counts) - min(counts)


@pytest.mark.parametrize("tiles", [1, 4, 8])
def test_a_mosaic_holds_as_many_of_one_class_as_of_another(tiles):
    for index in range(50):
        drawn = compose_one_balanced(CLASSES, tiles, seed=1, index=index)
        assert len(set(drawn)) == tiles
        counts = Counter(CLASSES[cell] for cell in drawn)
        assert spread([counts[name] for name in SIZES]) <= 1


def test_a_class_of_few_cells_is_made_up_for_by_the_others():
    for index in range(20):
        drawn = compose_one_balanced(CLASSES, 16, seed=1, index=index)
        assert len(set(drawn)) == 16
        counts = Counter(CLASSES[cell] for cell in drawn)
        assert counts.pop("basophil") == 2
        assert spread(counts.values()) <= 1
    everything = compose_one_balanced(CLASSES, 50, seed=1, index=0)
    assert sorted(everything) == list(range(50))


def test_a_draw_is_given_by_seed_and_index():
    draws = [compose_one_balanced(CLASSES, 4, seed=1, index=i) for i in range(40)]
    assert draws == [
        compose_one_balanced(CLASSES, 4, seed=1, index=i) for i in range(40)
    ]
    assert len(set(map(tuple, draws))) > 35
    assert compose_one_balanced(CLASSES, 4, seed=2, index=0) != draws[0]


def test_no_place_of_the_mosaic_belongs_to_a_class():
    first = Counter(
        CLASSES[compose_one_balanced(CLASSES, 4, seed=0, index=i)[0]]
        for i in range(400)
    )
    assert min(first.values()) > 60


@pytest.mark.parametrize(("mosaics", "tiles"), [(7, 3), (40, 1), (25, 4), (10, 8)])
def test_a_deal_uses_classes_alike_and_the_cells_of_a_class_alike(mosaics, tiles):
    composed = compose_fixed_balanced(CLASSES, mosaics, tiles, seed=3)
    assert all(len(set(mosaic)) == tiles for mosaic in composed)
    uses = Counter(cell for mosaic in composed for cell in mosaic)
    by_class = Counter(CLASSES[cell] for mosaic in composed for cell in mosaic)
    assert spread([by_class[name] for name in SIZES]) <= 1
    for name in SIZES:
        cells = [cell for cell, kind in enumerate(CLASSES) if kind == name]
        assert spread([uses[cell] for cell in cells]) <= 1
    assert composed == compose_fixed_balanced(CLASSES, mosaics, tiles, seed=3)
    assert composed[:3] == compose_fixed_balanced(CLASSES, 3, tiles, seed=3)
    assert composed != compose_fixed_balanced(CLASSES, mosaics, tiles, seed=4)


def test_too_few_cells_are_refused():
    for compose in (
        lambda: compose_one_balanced(CLASSES, 51, seed=0, index=0),
        lambda: compose_fixed_balanced(CLASSES, 2, 51, seed=0),
    ):
        with pytest.raises(ValueError, match="51 tiles needs as many cells, got 50"):
            compose()


@pytest.mark.parametrize("tiles", [1, 4, 9, 16])
def test_cells_of_one_class_share_mosaics_and_each_is_shown_once(tiles):
    composed = compose_every_alike(CLASSES, tiles, seed=3)
    flat = [cell for mosaic in composed for cell in mosaic]
    assert sorted(c for c in flat if c is not None) == list(range(len(CLASSES)))
    for mosaic in composed:
        assert len(mosaic) == tiles
        assert len({CLASSES[cell] for cell in mosaic if cell is not None}) == 1
    assert len(composed) == sum(-(-count // tiles) for count in SIZES.values())
    assert composed == compose_every_alike(CLASSES, tiles, seed=3)
    assert composed != compose_every_alike(CLASSES, tiles, seed=4)
