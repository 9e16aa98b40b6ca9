"""Which cells make which mosaic, as pure functions of (seed, global index).

A global index counts the samples that a training has asked for, over all epochs
and processes. Workers, resumption and the number of processes cannot change what
belongs to an index, since nothing else enters.

Like ``leuko_mm.datasets.sampling``, pure functions of (seed, global index).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.dist import get_dist_info

from leuko_mm.registry import DATA_SAMPLERS

# Every cell once: in the order of chance, or cells of one class together.
EVERY, EVERY_ALIKE = "every", "every_alike"
EACH_ONCE = (EVERY, EVERY_ALIKE)
MODES = ("fixed", "resample", *EACH_ONCE)
SPLIT_STAGES = ("cells", "mosaics")
LAYOUTS = ("grid", "scattered", "smear")
MOSAIC_SPLIT = "paper_mosaics"


def check_numbers(n: int, size: int, *, mode: str, mosaics: int | None, fill: int):
    """Refuse numbers of which no mosaic can be made.

    Raises:
        ValueError: naming the number, and what was expected.
    """
    if n < 1 or size < n:
        raise ValueError(f"n must be 1 or more and at most size, got {n}, {size}")
    if mode not in EACH_ONCE and (mosaics is None or mosaics < 1):
        raise ValueError(
            f"mode {mode!r} needs the number of mosaics, 1 or more; got {mosaics}"
        )
    if not 0 <= fill <= 255:
        raise ValueError(f"fill must be a grey level of 0 to 255, got {fill}")


def check_fields(fields: float, *, enhance, mode: str) -> None:
    """Refuse a share of fields that is none, or that nothing could draw.

    Raises:
        ValueError: naming the number, and what was expected.
    """
    if not 0 <= fields < 1:
        raise ValueError(f"fields must be a share of 0 to below 1, got {fields}")
    if fields and (enhance is not None or mode != "resample"):
        raise ValueError(
            f"fields={fields} shows windows of raw fields among mosaics that are drawn "
            f"afresh; use mode 'resample' without enhance, not {mode!r} with {enhance}"
        )


def check_choices(
    mode: str, split_stage: str, *, layout: str, class_balanced: bool, test_mode: bool
) -> None:
    """Refuse unknown names, and choices that contradict each other.

    Raises:
        ValueError: naming the choices, and what to do.
    """
    if mode not in MODES or split_stage not in SPLIT_STAGES:
        raise ValueError(
            f"mode must be one of {MODES} and split_stage one of {SPLIT_STAGES}, "
            f"got {mode!r} and {split_stage!r}"
        )
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}")
    if split_stage == "mosaics" and mode != "fixed":
        raise ValueError(f"split_stage 'mosaics' needs mode 'fixed', got {mode!r}")
    if test_mode and (class_balanced or layout != "grid"):
        raise ValueError(
            "test mosaics show their cells on the grid as they are; leave out "
            f"class_balanced={class_balanced} and layout={layout!r}, or test_mode"
        )
    if class_balanced and (mode in EACH_ONCE or split_stage == "mosaics"):
        raise ValueError(
            f"class_balanced chooses among cells, but mode {mode!r} with split_stage "
            f"{split_stage!r} fixes which ones are shown; use mode 'resample' or "
            "'fixed', and split_stage 'cells'"
        )


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


def compose_known(
    classes: Sequence[str],
    tiles: int,
    *,
    mode: str,
    mosaics: int | None,
    class_balanced: bool,
    seed: int,
) -> list[list[int | None]]:
    """Return the mosaics of a mode that does not draw them afresh.

    Args:
        classes: class name of every cell.
        tiles: cells a mosaic.
        mode: ``fixed``, ``every`` or ``every_alike``, see ``MosaicDataset``.
        mosaics: how many; the latter two need no number.
        class_balanced: use every class equally often, in ``fixed``.
        seed: of the deal.

    Raises:
        ValueError: in ``fixed``, if a mosaic has more tiles than there are cells.
    """
    if mode == EVERY:
        return compose_every(len(classes), tiles, seed=seed)
    if mode == EVERY_ALIKE:
        return compose_every_alike(classes, tiles, seed=seed)
    if class_balanced:
        return compose_fixed_balanced(classes, mosaics, tiles, seed=seed)
    return compose_fixed(len(classes), mosaics, tiles, seed=seed)


def compose_every_alike(
    classes: Sequence[str], tiles: int, *, seed: int
) -> list[list[int | None]]:
    """Put every cell into exactly one mosaic, in which all are of its class.

    The last mosaic of each class may have spare tiles (None).

    Args:
        classes: class name of every cell.
        tiles: cells a mosaic.
        seed: of the order within a class.

    Example:
        >>> compose_every_alike(["basophil", "monocyte", "basophil"], 2, seed=1)
        [[0, 2], [1, None]]
    """
    composed = []
    for alike in map(np.ndarray.tolist, _cells_by_class(classes).values()):
        for mosaic in compose_every(len(alike), tiles, seed=seed):
            composed.append([None if i is None else alike[i] for i in mosaic])
    return composed


def compose_one_balanced(
    classes: Sequence[str], tiles: int, *, seed: int, index: int
) -> list[int]:
    """Draw one mosaic afresh: distinct cells, as many of one class as of another.

    The numbers of two classes in a mosaic differ by at most one, unless a class has
    no more cells; then the others make up for it.

    Args:
        classes: class name of every cell.
        tiles: cells a mosaic.
        seed: of the draw, with the index.
        index: the mosaic's global index.

    Raises:
        ValueError: if a mosaic has more tiles than there are cells.

    Example:
        >>> classes = ["basophil"] * 2 + ["neutrophil"] * 98
        >>> drawn = compose_one_balanced(classes, 4, seed=0, index=7)
        >>> sorted(classes[cell] for cell in drawn)
        ['basophil', 'basophil', 'neutrophil', 'neutrophil']
    """
    check_enough(len(classes), tiles)
    rng = np.random.default_rng([seed, index])
    queues = {
        kind: rng.permutation(cells).tolist()
        for kind, cells in _cells_by_class(classes).items()
    }
    order = rng.permutation(list(queues)).tolist()
    return rng.permutation(_taken_in_turn(queues, order, tiles)).tolist()


def compose_fixed_balanced(
    classes: Sequence[str], mosaics: int, tiles: int, *, seed: int
) -> list[list[int]]:
    """Deal cells into mosaics so that all classes are used alike.

    Within a class the least used cells come first, so that none is met again before
    all have been met; over the mosaics the least used classes come first.

    Args:
        classes: class name of every cell.
        mosaics: how many to compose.
        tiles: cells a mosaic.
        seed: of the deal.

    Raises:
        ValueError: if a mosaic has more tiles than there are cells.

    Example:
        >>> classes = ["basophil"] * 3 + ["neutrophil"] * 9
        >>> deals = compose_fixed_balanced(classes, 3, 2, seed=0)
        >>> [sorted(classes[cell][0] for cell in deal) for deal in deals]
        [['b', 'n'], ['b', 'n'], ['b', 'n']]
    """
    check_enough(len(classes), tiles)
    rng = np.random.default_rng(seed)
    members = _cells_by_class(classes)
    kinds = list(members)
    uses = np.zeros(len(classes), dtype=int)
    composed = []
    for _ in range(mosaics):
        queues = {k: _least_used_first(c, uses[c], rng) for k, c in members.items()}
        totals = np.array([uses[cells].sum() for cells in members.values()])
        order = [kinds[i] for i in np.lexsort((rng.random(len(kinds)), totals))]
        taken = _taken_in_turn(queues, order, tiles)
        uses[taken] += 1
        composed.append(rng.permutation(taken).tolist())
    return composed


def _cells_by_class(classes: Sequence[str]) -> dict[str, np.ndarray]:
    names = np.asarray(classes)
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def _least_used_first(cells: np.ndarray, uses: np.ndarray, rng) -> list[int]:
    return cells[np.lexsort((rng.random(len(cells)), uses))].tolist()


def _taken_in_turn(
    queues: Mapping[str, Sequence[int]], order: Sequence[str], tiles: int
) -> list[int]:
    """Take the first cell of each class in order, then the second, and so on."""
    longest = max(map(len, queues.values()))
    turns = (
        queues[kind][turn]
        for turn in range(longest)
        for kind in order
        if turn < len(queues[kind])
    )
    return [cell for cell, _ in zip(turns, range(tiles), strict=False)]
