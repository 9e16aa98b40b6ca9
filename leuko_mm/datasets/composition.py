"""Which cells make which mosaic, as pure functions of the seed, or of (seed, index).

``cells`` is how many there are to draw from, ``classes`` the class name of each, and
``tiles`` the number of cells in a mosaic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# Modes that show every cell once: in random order, or cells of one class together.
EVERY, EVERY_ALIKE = "every", "every_alike"
EACH_ONCE = (EVERY, EVERY_ALIKE)


def compose_every(cells: int, tiles: int, *, seed: int) -> list[list[int | None]]:
    """Put every cell into exactly one mosaic; the last may have spare tiles (None)."""
    order: list[int | None] = np.random.default_rng(seed).permutation(cells).tolist()
    order += [None] * (-cells % tiles)
    return [order[i : i + tiles] for i in range(0, len(order), tiles)]


def compose_every_alike(
    classes: Sequence[str], tiles: int, *, seed: int
) -> list[list[int | None]]:
    """Put every cell into exactly one mosaic, with others of its class."""
    composed = []
    for alike in map(np.ndarray.tolist, _cells_by_class(classes).values()):
        for mosaic in compose_every(len(alike), tiles, seed=seed):
            composed.append([None if i is None else alike[i] for i in mosaic])
    return composed


def compose_fixed(
    cells: int, mosaics: int, tiles: int, *, seed: int
) -> list[list[int]]:
    """Deal cells into mosaics without replacement, as evenly as possible.

    Each mosaic takes the least used cells, in random order among equals. So no cell
    is twice in a mosaic, and the numbers of uses differ by at most one.
    """
    _check_enough(cells, tiles)
    rng = np.random.default_rng(seed)
    uses = np.zeros(cells, dtype=int)
    composed = []
    for _ in range(mosaics):
        least_used = np.lexsort((rng.random(cells), uses))[:tiles]
        uses[least_used] += 1
        composed.append(rng.permutation(least_used).tolist())
    return composed


def compose_one(cells: int, tiles: int, *, seed: int, index: int) -> list[int]:
    """Draw one mosaic of distinct cells."""
    _check_enough(cells, tiles)
    return np.random.default_rng([seed, index]).permutation(cells)[:tiles].tolist()


def compose_one_balanced(
    classes: Sequence[str], tiles: int, *, seed: int, index: int
) -> list[int]:
    """Draw one mosaic of distinct cells, as many of one class as of another.

    The numbers of two classes in a mosaic differ by at most one, unless a class has
    no more cells; then the others replace them.
    """
    _check_enough(len(classes), tiles)
    rng = np.random.default_rng([seed, index])
    queues = {
        kind: rng.permutation(cells).tolist()
        for kind, cells in _cells_by_class(classes).items()
    }
    order = rng.permutation(list(queues)).tolist()
    return rng.permutation(_taken_in_turn(queues, order, tiles)).tolist()


def _check_enough(cells: int, tiles: int) -> None:
    if tiles > cells:
        raise ValueError(
            f"a mosaic of {tiles} tiles needs as many cells, got {cells}; "
            "add cells, or make smaller mosaics with --cfg-options "
            "train_dataloader.dataset.n=1 test_dataloader.dataset.n=1"
        )


def _cells_by_class(classes: Sequence[str]) -> dict[str, np.ndarray]:
    names = np.asarray(classes)
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}


def _taken_in_turn(
    queues: Mapping[str, Sequence[int]], order: Sequence[str], tiles: int
) -> list[int]:
    longest = max(map(len, queues.values()))
    turns = (
        queues[kind][turn]
        for turn in range(longest)
        for kind in order
        if turn < len(queues[kind])
    )
    return [cell for cell, _ in zip(turns, range(tiles), strict=False)]
