"""Balanced draws: every class alike, no cell twice, given by (seed, index) alone.

Which cells make which mosaic: given by (seed, global index) and nothing else.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from leuko_mm.datasets import sampling
from leuko_mm.datasets.composition import (
    compose_every,
    compose_every_alike,
    compose_fixed,
    compose_fixed_balanced,
    compose_one,
    compose_one_balanced,
)
from leuko_mm.datasets.sampling import GlobalIndexSampler, sample_randomness

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


# (cells, mosaics, tiles): fewer, as many and more tiles than cells; 268 is BCISC.
SIZES_SAMPLING = [
    (cells, mosaics, tiles)
    for cells in (1, 2, 4, 5, 9, 10, 16, 17, 31, 268)
    for mosaics in (1, 2, 5, 13, 50)
    for tiles in (1, 4, 9, 16)
    if tiles <= cells
]


def draws() -> tuple:
    return random.random(), np.random.random(), torch.rand(1).item()


@pytest.mark.parametrize("seed", [0, 7])
def test_cells_are_used_evenly_and_never_twice_in_one_mosaic(seed):
    for cells, mosaics, tiles in SIZES_SAMPLING:
        composed = compose_fixed(cells, mosaics, tiles, seed=seed)
        assert len(composed) == mosaics
        uses = np.zeros(cells, int)
        for mosaic in composed:
            assert len(set(mosaic)) == tiles, (cells, mosaics, tiles)
            uses[mosaic] += 1
            # At every moment: nothing is drawn again before all have been drawn.
            assert uses.max() - uses.min() <= 1, (cells, mosaics, tiles)


def test_fifty_mosaics_of_four_draw_200_of_268_cells_once():
    composed = compose_fixed(268, 50, 4, seed=0)
    assert len({cell for mosaic in composed for cell in mosaic}) == 200


@pytest.mark.parametrize("compose", [compose_fixed, None], ids=["fixed", "every"])
def test_composition_is_given_by_the_seed(compose):
    def made(seed):
        if compose is None:
            return compose_every(20, 4, seed=seed)
        return compose(20, 9, 4, seed=seed)

    assert made(5) == made(5)
    assert made(5) != made(6)


def test_more_mosaics_leave_the_first_ones_as_they_were():
    assert compose_fixed(30, 20, 4, seed=1)[:7] == compose_fixed(30, 7, 4, seed=1)


def test_every_cell_is_shown_once_and_only_the_last_mosaic_has_spare_tiles():
    for cells in range(1, 40):
        for tiles in (1, 4, 9, 16):
            composed = compose_every(cells, tiles, seed=3)
            flat = [cell for mosaic in composed for cell in mosaic]
            assert sorted(c for c in flat if c is not None) == list(range(cells))
            assert flat.count(None) < tiles
            assert None not in flat[:cells]
            assert {len(mosaic) for mosaic in composed} == {tiles}


def test_a_mosaic_drawn_afresh_holds_different_cells():
    mosaics = [compose_one(9, 4, seed=0, index=i) for i in range(200)]
    assert all(len(set(mosaic)) == 4 for mosaic in mosaics)
    assert {c for mosaic in mosaics for c in mosaic} == set(range(9))
    assert len({tuple(mosaic) for mosaic in mosaics}) > 150
    assert compose_one(9, 4, seed=1, index=0) != mosaics[0]


def test_more_tiles_than_cells_are_refused():
    for compose in (
        lambda: compose_fixed(3, 2, 4, seed=0),
        lambda: compose_one(3, 4, seed=0, index=0),
    ):
        with pytest.raises(ValueError, match="4 tiles needs as many cells, got 3"):
            compose()


def test_randomness_is_tied_to_seed_and_index_and_put_back():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with sample_randomness(3, 12):
        inside = draws()
        with sample_randomness(3, 13):
            nested = draws()
    with pytest.raises(ZeroDivisionError), sample_randomness(3, 12):
        1 / (draws() != inside)
    assert draws() == expected
    with sample_randomness(3, 13):
        assert draws() == nested
    with sample_randomness(4, 12):
        others = draws()
    for values in (expected, nested, others):
        assert not set(values) & set(inside)


def taken(count: int, size: int = 7, **options) -> list[int]:
    return list(islice(GlobalIndexSampler(range(size), **options), count))


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_epoch_visits_every_sample_once(shuffle):
    indices = taken(21, seed=4, shuffle=shuffle)
    epochs = [indices[i : i + 7] for i in (0, 7, 14)]
    for number, epoch in enumerate(epochs):
        assert sorted(epoch) == list(range(7 * number, 7 * number + 7))
    assert (indices == list(range(21))) is not shuffle
    orders = {tuple(i % 7 for i in epoch) for epoch in epochs}
    assert len(orders) == (3 if shuffle else 1)


def test_the_order_is_given_by_the_seed():
    assert taken(20, seed=1) == taken(20, seed=1) != taken(20, seed=2)
    # Without a seed of the runner (diff_rank_seed), processes must still agree.
    assert taken(20, seed=None) == taken(20, seed=0)


@pytest.mark.parametrize("done", [0, 3, 7, 16])
def test_a_restart_goes_on_where_it_stopped(done):
    assert taken(10, seed=2, start=done) == taken(done + 10, seed=2)[done:]
    sampler = GlobalIndexSampler(range(7), seed=2)
    sampler.skip(done)
    assert list(islice(sampler, 10)) == taken(done + 10, seed=2)[done:]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_indices_without_overlap(world, monkeypatch):
    alone = taken(42, seed=5)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(sampling, "get_dist_info", lambda r=rank: (r, world))
        shares.append(taken(42 // world, seed=5))
        resumed = GlobalIndexSampler(range(7), seed=5)
        resumed.skip(4)
        assert list(islice(resumed, 5)) == shares[rank][4:9]
    # Step by step, all processes together take what one alone would take.
    assert [i for step in zip(*shares, strict=True) for i in step] == alone


def test_a_sampler_starts_anew_with_each_iterator():
    sampler = GlobalIndexSampler(range(7), seed=1)
    first = list(islice(sampler, 9))
    sampler.set_epoch(3)
    assert list(islice(sampler, 9)) == first
    assert len(sampler) == 7
