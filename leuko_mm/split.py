"""Write splits of a dataset, and check that no group is divided."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.audit import leak_severity, leaks_by_design
from leuko_mm.datasets.audit_checks import ERROR
from leuko_mm.datasets.duplicates import (
    NearDuplicate,
    across_parts,
    near_duplicates,
    perceptual_hash,
)
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.leukocyte import dataset_root
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    IndexRow,
    how_to_mend,
    read_index,
    read_split,
)
from leuko_mm.datasets.prepared_writing import write_split
from leuko_mm.datasets.splits import (
    development_split,
    fewer_groups,
    grouped_folds,
    grouped_holdout,
    joined_groups,
    shared_groups,
)
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


OFFICIAL = re.compile(r"fold\d+|development|paper|paper_mosaics")
WRITTEN, REPLACED, UNCHANGED = "written", "replaced", "there already, unchanged"
REFUSED, THERE = "NOT written", "there"


@dataclass(frozen=True)
class SplitReport:
    """Who stands where in one split.

    Args:
        name: of the split.
        state: what has become of its file.
        cells: part -> class -> cells.
        groups: part -> groups.
        shared: groups in both parts.
        copies: pairs of near-duplicates of different groups, one in each part.
    """

    name: str
    state: str
    cells: Mapping[str, Mapping[str, int]]
    groups: Mapping[str, int]
    shared: tuple[str, ...]
    copies: tuple[NearDuplicate, ...]

    @property
    def by_design(self) -> bool:
        """Whether the split is one that divides groups on purpose."""
        return leaks_by_design(self.name)

    @property
    def leaks(self) -> bool:
        """Whether a promise is broken: the test part knows something of training."""
        return bool(self.shared or self.copies) and leak_severity(self.name) == ERROR

    @property
    def official(self) -> bool:
        """Whether results of others are compared under this name."""
        return OFFICIAL.fullmatch(self.name) is not None


def run_split(request: SplitRequest) -> list[SplitReport]:
    """Deal and write the splits, all of them or none.

    Returns:
        A report a split; if one of them leaks, nothing was written.

    Raises:
        DatasetError: if the dataset is missing or broken, or a split of that name
            holds something else and ``force`` is not given.
        UsageError: if the data cannot be dealt like that.
    """
    root = dataset_root(request.name)
    rows = _cells(root)
    pairs = _copies(root, rows)
    splits = deal_splits(request, root, rows, pairs)
    if any(_report(name, splits[name], rows, pairs).leaks for name in splits):
        return [_report(n, parts, rows, pairs, REFUSED) for n, parts in splits.items()]
    states = {name: _state(root, name, parts) for name, parts in splits.items()}
    _check_replaced(root, states, request.force)
    stems = {row.stem for row in rows}
    for name, parts in splits.items():
        if states[name] != UNCHANGED:
            _write(root, name, parts, stems)
    return [_report(n, parts, rows, pairs, states[n]) for n, parts in splits.items()]


def show_splits(name: str) -> list[SplitReport]:
    """Return a report on every split that a dataset has.

    Raises:
        DatasetError: if the dataset or one of its splits is broken.
    """
    root = dataset_root(name)
    rows = _cells(root)
    pairs = _copies(root, rows)
    names = sorted(path.stem for path in (root / "splits").glob("*.csv"))
    return [_report(n, read_split(root, n), rows, pairs, THERE) for n in names]


def _cells(root: Path) -> list[IndexRow]:
    rows = [row for row in read_index(root) if row.kind == "cell"]
    if not rows:
        raise DatasetError(f"{root} holds no cell; {how_to_mend(root)}")
    return rows


def _copies(root: Path, rows: Sequence[IndexRow]) -> list[NearDuplicate]:
    """Return the near-duplicates of different groups."""
    try:
        hashes = {
            row.stem: perceptual_hash(read_image(root / row.image)) for row in rows
        }
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{error}; see all that is wrong with:\n    leuko check {root}"
        ) from None
    return near_duplicates(hashes, {row.stem: row.group for row in rows})


def _report(
    name: str,
    parts: Mapping[str, str],
    rows: Sequence[IndexRow],
    pairs: Sequence[NearDuplicate],
    state: str = "",
) -> SplitReport:
    by_part = {p: [r for r in rows if parts.get(r.stem) == p] for p in PARTS}
    groups = {row.stem: row.group for row in rows}
    known = {stem: part for stem, part in parts.items() if stem in groups}
    return SplitReport(
        name,
        state,
        {p: dict(Counter(r.class_name for r in by_part[p])) for p in PARTS},
        {p: len({r.group for r in by_part[p]}) for p in PARTS},
        tuple(shared_groups(known, groups)),
        tuple(across_parts(pairs, known)),
    )


def _state(root: Path, name: str, parts: Mapping[str, str]) -> str:
    """Return what writing a split will do to its file."""
    if not (root / "splits" / f"{name}.csv").exists():
        return WRITTEN
    try:
        return UNCHANGED if read_split(root, name) == parts else REPLACED
    except DatasetError:
        return REPLACED


def _check_replaced(root: Path, states: Mapping[str, str], force: bool) -> None:
    replaced = [name for name, state in states.items() if state == REPLACED]
    if force or not replaced:
        return
    official = [name for name in replaced if OFFICIAL.fullmatch(name)]
    reason = (
        "official splits, under whose names results are compared"
        if official
        else "dealt otherwise"
    )
    raise DatasetError(
        f"{root} has {', '.join(official or replaced)} already: {reason}; choose "
        "another --prefix (with --fewer: --seed), or add --force to replace them"
    )


def _write(root: Path, name: str, parts: Mapping[str, str], stems: set[str]) -> None:
    try:
        write_split(root, name, parts, known=stems)
    except OSError as error:
        raise DatasetError(
            f"the split {name} was not written ({error}); mend the cause and run the "
            "command again"
        ) from error
