"""Which cells make which mosaic, as pure functions of (seed, global index).

A global index counts the samples that a training has asked for, over all epochs
and processes. Workers, resumption and the number of processes cannot change what
belongs to an index, since nothing else enters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_dist_info

from leuko_mm.registry import DATA_SAMPLERS


@contextmanager
def sample_randomness(seed: int, index: int) -> Iterator[None]:
    """Tie the global generators to (seed, index) for a while.

    Transforms of mmcv and mmseg draw from those of Python and numpy, others from
    torch's on the CPU. All get their former state back afterwards.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    words = np.random.SeedSequence([seed, index]).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words)
    # torch.manual_seed would also reseed the generators of every GPU.
    torch.default_generator.manual_seed(int(words[1]))
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)


def compose_fixed(
    cells: int, mosaics: int, tiles: int, *, seed: int
) -> list[list[int]]:
    """Deal cells into mosaics without replacement, as evenly as can be.

    Each mosaic takes the least used cells, in random order among equals. So no cell
    stands twice in a mosaic, and the numbers of uses differ by at most one.

    Args:
        cells: how many there are to draw from.
        mosaics: how many to compose.
        tiles: cells a mosaic.

    Raises:
        ValueError: if a mosaic has more tiles than there are cells.

    Example:
        >>> deals = compose_fixed(5, 2, 4, seed=0)
        >>> [len(set(deal)) for deal in deals], len({c for d in deals for c in d})
        ([4, 4], 5)
    """
    check_enough(cells, tiles)
    rng = np.random.default_rng(seed)
    uses = np.zeros(cells, dtype=int)
    composed = []
    for _ in range(mosaics):
        least_used = np.lexsort((rng.random(cells), uses))[:tiles]
        uses[least_used] += 1
        composed.append(rng.permutation(least_used).tolist())
    return composed


def check_enough(cells: int, tiles: int) -> None:
    """Refuse mosaics of more tiles than there are cells.

    Raises:
        ValueError: if no mosaic can be composed without showing a cell twice.
    """
    if tiles > cells:
        raise ValueError(
            f"a mosaic of {tiles} tiles needs as many cells, got {cells}; "
            "add cells, or make smaller mosaics with --cfg-options "
            "train_dataloader.dataset.n=1 test_dataloader.dataset.n=1"
        )


def compose_every(cells: int, tiles: int, *, seed: int) -> list[list[int | None]]:
    """Put every cell into exactly one mosaic; the last may have spare tiles (None).

    Example:
        >>> [len(m) for m in compose_every(6, 4, seed=0)]
        [4, 4]
        >>> compose_every(6, 4, seed=0)[1].count(None)
        2
    """
    order: list[int | None] = np.random.default_rng(seed).permutation(cells).tolist()
    order += [None] * (-cells % tiles)
    return [order[i : i + tiles] for i in range(0, len(order), tiles)]


def compose_one(cells: int, tiles: int, *, seed: int, index: int) -> list[int]:
    """Draw one mosaic afresh: distinct cells, given by (seed, index) alone.

    Raises:
        ValueError: if a mosaic has more tiles than there are cells.

    Example:
        >>> compose_one(9, 4, seed=0, index=7) == compose_one(9, 4, seed=0, index=7)
        True
    """
    check_enough(cells, tiles)
    return np.random.default_rng([seed, index]).permutation(cells)[:tiles].tolist()


@DATA_SAMPLERS.register_module()
class GlobalIndexSampler(torch.utils.data.Sampler):
    """Yield global indices without end: epoch * len(dataset) + sample's number.

    Each process takes every ``world_size``-th index. Datasets of leuko_mm map a
    global index to a sample themselves, so that each epoch is augmented anew.

    Args:
        dataset: anything with a length.
        seed: of the shuffling; mmengine's runner hands over its own.
        shuffle: visit each epoch in a new order.
        start: how many samples all processes together took before a resumption.
    """

    def __init__(self, dataset, seed: int | None = 0, *, shuffle=True, start: int = 0):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.seed = seed or 0
        self.shuffle = shuffle
        self.start = start

    def __iter__(self) -> Iterator[int]:
        """Yield this process's global indices."""
        epoch, order = -1, None
        index = self.start + self.rank
        while True:
            if index // self.size != epoch:
                epoch = index // self.size
                order = self._order(epoch)
            yield epoch * self.size + int(order[index % self.size])
            index += self.world_size

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)

    def __len__(self) -> int:
        return self.size

    def skip(self, num_samples: int) -> None:
        """Begin behind the samples that this process took before a resumption.

        mmengine's loop calls it, so that resuming loads none of the skipped data.
        """
        self.start = num_samples * self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the global index already tells the epoch."""
