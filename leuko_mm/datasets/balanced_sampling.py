"""Which cells make which mosaic when their classes matter.

Like ``leuko_mm.datasets.sampling``, pure functions of (seed, global index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from leuko_mm.datasets.mosaic_options import EVERY, EVERY_ALIKE
from leuko_mm.datasets.sampling import check_enough, compose_every, compose_fixed


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
