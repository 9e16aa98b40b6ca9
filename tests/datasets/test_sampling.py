"""The global index: which samples a process takes, and their randomness."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
import torch

from leuko_mm.datasets import sampling
from leuko_mm.datasets.sampling import GlobalIndexSampler, sample_randomness


def draws() -> tuple:
    return random.random(), np.random.random(), torch.rand(1).item()


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
    assert list(islice(sampler, 9)) == first
