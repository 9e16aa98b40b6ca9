"""Which splits are dealt when somebody asks for some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.grouped_splits import (
    fewer_groups,
    grouped_folds,
    grouped_holdout,
    joined_groups,
)
from leuko_mm.datasets.near_duplicates import NearDuplicate
from leuko_mm.datasets.prepared import IndexRow, read_split
from leuko_mm.datasets.splits import development_split
from leuko_mm.errors import UsageError

Splits = dict[str, dict[str, str]]


@dataclass(frozen=True)
class SplitRequest:
    """What ``leuko split`` was asked for.

    Args:
        name: dataset, by its name or path.
        folds: how many.
        repeats: how often they are dealt, with seeds that follow one another.
        seed: the first one.
        prefix: of the splits' names; '' gives ``fold1`` ...
        holdout: share of the cells to test, for one split instead of folds.
        of, fewer: a split that is there, and of how many groups its training part is
            to be in others, which test the same cells.
        join: deal groups that share a picture as one.
        force: replace splits of these names that differ.
    """

    name: str
    folds: int = 5
    repeats: int = 1
    seed: int = 0
    prefix: str = "grouped"
    holdout: float | None = None
    of: str | None = None
    fewer: tuple[int, ...] = ()
    join: bool = False
    force: bool = False


def deal_splits(
    request: SplitRequest,
    root: Path,
    rows: Sequence[IndexRow],
    pairs: Sequence[NearDuplicate],
) -> Splits:
    """Return the splits that were asked for, with their names.

    Args:
        request: what was asked for.
        root: the dataset's folder.
        rows: its cells.
        pairs: near-duplicates of different groups.

    Raises:
        UsageError: if the data cannot be dealt like that.
        DatasetError: if the split to take groups from is missing.
    """
    groups = {row.stem: row.group for row in rows}
    classes = {row.stem: row.class_name for row in rows}
    if request.join:
        groups = joined_groups(groups, [pair[:2] for pair in pairs])
    try:
        if request.of:
            return _fewer(request, read_split(root, request.of), groups, classes)
        return _repeated(request, groups, classes)
    except ValueError as error:
        raise UsageError(f"{request.name}: {error}") from None


def _fewer(request: SplitRequest, parts, groups, classes) -> Splits:
    marked = f"_s{request.seed}" if request.seed else ""
    return {
        f"{request.of}{marked}_groups{count}": fewer_groups(
            parts, groups, classes, count=count, seed=request.seed
        )
        for count in request.fewer
    }


def _repeated(request: SplitRequest, groups, classes) -> Splits:
    splits = {}
    for seed in range(request.seed, request.seed + request.repeats):
        marked = [f"s{seed}"] if request.repeats > 1 or request.seed else []
        words = [request.prefix, *marked] if request.prefix else marked
        dealt = _dealt_once(request, groups, classes, seed)
        splits |= {"_".join([*words, end]): parts for end, parts in dealt.items()}
    return splits


def _dealt_once(request: SplitRequest, groups, classes, seed: int) -> Splits:
    if request.holdout is not None:
        share = request.holdout
        return {"holdout": grouped_holdout(groups, classes, fraction=share, seed=seed)}
    count = request.folds
    folds = grouped_folds(groups, classes, folds=count, seed=seed)
    if count < 3:
        return folds
    chosen = development_split(folds, test=count - 1, reserved=count)
    return {**folds, "development": chosen}
