"""Which cells make which mosaic: given by (seed, index) and nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leuko_mm.datasets.composition import (
    compose_every,
    compose_every_alike,
    compose_fixed,
    compose_one,
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
    assert draws[7] == compose_one_balanced(CLASSES, 4, seed=1, index=7)
    assert len(set(map(tuple, draws))) > 35
    assert compose_one_balanced(CLASSES, 4, seed=2, index=0) != draws[0]


@pytest.mark.parametrize(
    "compose",
    [
        lambda: compose_fixed(50, 2, 51, seed=0),
        lambda: compose_one(50, 51, seed=0, index=0),
        lambda: compose_one_balanced(CLASSES, 51, seed=0, index=0),
    ],
)
def test_more_tiles_than_cells_are_refused(compose):
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


# (cells, mosaics, tiles): fewer, as many and more tiles than cells; 268 is BCISC.
DEALS = [
    (cells, mosaics, tiles)
    for cells in (1, 2, 4, 5, 9, 10, 16, 17, 31, 268)
    for mosaics in (1, 2, 5, 13, 50)
    for tiles in (1, 4, 9, 16)
    if tiles <= cells
]


@pytest.mark.parametrize("seed", [0, 7])
def test_cells_are_used_evenly_and_never_twice_in_one_mosaic(seed):
    for cells, mosaics, tiles in DEALS:
        composed = compose_fixed(cells, mosaics, tiles, seed=seed)
        assert len(composed) == mosaics
        uses = np.zeros(cells, int)
        for mosaic in composed:
            assert len(set(mosaic)) == tiles, (cells, mosaics, tiles)
            uses[mosaic] += 1
            # At every moment: nothing is drawn again before all have been drawn.
            assert uses.max() - uses.min() <= 1, (cells, mosaics, tiles)


def test_a_deal_is_given_by_the_seed_and_goes_on_from_mosaic_to_mosaic():
    assert compose_fixed(30, 20, 4, seed=1)[:7] == compose_fixed(30, 7, 4, seed=1)
    assert compose_fixed(20, 9, 4, seed=5) != compose_fixed(20, 9, 4, seed=6)
    assert compose_every(20, 4, seed=5) == compose_every(20, 4, seed=5)
    assert compose_every(20, 4, seed=5) != compose_every(20, 4, seed=6)


def test_every_cell_is_shown_once_and_only_the_last_mosaic_has_spare_tiles():
    for cells in range(1, 40):
        for tiles in (1, 4, 9, 16):
            composed = compose_every(cells, tiles, seed=3)
            flat = [cell for mosaic in composed for cell in mosaic]
            assert sorted(c for c in flat if c is not None) == list(range(cells))
            assert flat.count(None) < tiles
            assert None not in flat[:cells]
            assert {len(mosaic) for mosaic in composed} == {tiles}
