"""Global indices: the sampler that yields them and the randomness that they fix.

A global index counts the samples that a training has asked for, over all epochs and
processes. A sample depends on (seed, global index) alone, so workers, resumption and
the number of processes cannot change it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_dist_info

from leuko_mm.registry import DATA_SAMPLERS


@contextmanager
def sample_randomness(seed: int, index: int) -> Iterator[None]:
    """Seed the global generators with (seed, index) inside a ``with`` block.

    Transforms of mmcv and mmseg use those of Python and numpy, others that of torch
    on the CPU. Their former states are restored afterwards.
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


@DATA_SAMPLERS.register_module()
class GlobalIndexSampler(torch.utils.data.Sampler):
    """Yield global indices without end: epoch * len(dataset) + sample's number.

    Each process takes every ``world_size``-th index. Datasets of leuko_mm map a
    global index to a sample themselves, so that every epoch has its own augmentation.

    Args:
        dataset: anything with a length.
        seed: of the shuffling; mmengine's runner passes its own.
        shuffle: visit each epoch in a new order.
        start: how many samples all processes together took before a resumption.
    """

    def __init__(
        self,
        dataset: Sized,
        seed: int | None = 0,
        *,
        shuffle: bool = True,
        start: int = 0,
    ):
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
        """Begin after these samples of this process; mmengine's loop calls it."""
        self.start = num_samples * self.world_size
