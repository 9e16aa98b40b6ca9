"""Write splits of a dataset, and check that none divides a group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leuko_mm.classes import OTHER
from leuko_mm.datasets.audit import leaks_by_design
from leuko_mm.datasets.duplicates import (
    NearDuplicate,
    across_parts,
    find_copies,
    picture_of,
)
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    IndexRow,
    cell_rows,
    dataset_root,
    how_to_fix,
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

OFFICIAL = re.compile(r"fold\d+|development|paper|paper_mosaics")
WRITTEN, REPLACED, UNCHANGED = "written", "replaced", "there already, unchanged"
REFUSED, THERE = "NOT written", "there"
REMOVED = "removed, as the other folds were dealt otherwise"

Splits = dict[str, dict[str, str]]


@dataclass(frozen=True)
class SplitRequest:
    """The arguments of ``leuko split``."""

    name: str  # of the dataset, or its path
    folds: int = 5
    seed: int = 0
    prefix: str = "grouped"  # of the splits' names; '' gives fold1 ...
    holdout: float | None = None  # share of cells to test, in one split without folds
    of: str | None = None  # the split to derive others from
    fewer: tuple[int, ...] = ()  # numbers of groups that these train on
    join: bool = False  # deal groups that share a picture as one
    force: bool = False  # replace splits of these names that differ


@dataclass(frozen=True)
class SplitReport:
    """What a split contains, and what was done with its file."""

    name: str
    state: str
    cells: Mapping[str, Mapping[str, int]]  # part -> class -> cells
    groups: Mapping[str, int]  # part -> groups
    shared: tuple[str, ...]  # groups in both parts
    copies: tuple[NearDuplicate, ...]  # of different groups, one in each part

    @property
    def by_design(self) -> bool:
        """Whether the split is one that divides groups on purpose."""
        return leaks_by_design(self.name)

    @property
    def leaks(self) -> bool:
        """Whether the parts share a group or a picture, and should not."""
        return bool(self.shared or self.copies) and not self.by_design

    @property
    def official(self) -> bool:
        """Whether published results are compared under this name."""
        return OFFICIAL.fullmatch(self.name) is not None


def run_split(request: SplitRequest) -> list[SplitReport]:
    """Deal and write the splits: all of them, or none if one of them leaks.

    Raises:
        DatasetError: if the dataset is missing or broken, or a split of that name
            holds something else and ``force`` is not given.
        UsageError: if the data cannot be dealt like that.
    """
    root = dataset_root(request.name)
    rows = _cells(root)
    pairs = _copies(root, rows)
    splits = _dealt(request, root, rows, pairs)
    reports = [_report(name, REFUSED, splits[name], rows, pairs) for name in splits]
    if any(report.leaks for report in reports):
        return reports
    states = {name: _state(root, name, parts) for name, parts in splits.items()}
    if not request.force:
        _refuse_replacing(root, states)
    for name in (name for name, state in states.items() if state != UNCHANGED):
        try:
            write_split(root, name, splits[name], known={row.stem for row in rows})
        except OSError as error:
            raise DatasetError(
                f"the split {name} was not written ({error}); fix the cause and run "
                "the command again"
            ) from error
    reports = [replace(report, state=states[report.name]) for report in reports]
    old = _former_folds(request, root, splits) if request.force else ()
    for name in old:
        (root / "splits" / f"{name}.csv").unlink()
    return reports + [_report(name, REMOVED, {}, rows, pairs) for name in old]


def show_splits(name: str) -> list[SplitReport]:
    """Return a report on every split that a dataset has."""
    root = dataset_root(name)
    rows = _cells(root)
    pairs = _copies(root, rows)
    names = sorted(path.stem for path in (root / "splits").glob("*.csv"))
    return [_report(n, THERE, read_split(root, n), rows, pairs) for n in names]


def _cells(root: Path) -> list[IndexRow]:
    rows = cell_rows(root, other=True)
    if not rows:
        raise DatasetError(f"{root} holds no cell; {how_to_fix(root)}")
    return rows


def _copies(root: Path, rows: Sequence[IndexRow]) -> list[NearDuplicate]:
    paths = {row.stem: root / row.image for row in rows}
    try:
        pictures = {stem: picture_of(read_image(p)) for stem, p in paths.items()}
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{error}; see all that is wrong with:\n    leuko check {root}"
        ) from None
    return find_copies(pictures, {row.stem: row.group for row in rows})


def _dealt(
    request: SplitRequest,
    root: Path,
    rows: Sequence[IndexRow],
    pairs: Sequence[NearDuplicate],
) -> Splits:
    groups = {row.stem: row.group for row in rows}
    classes = {row.stem: row.class_name for row in rows}
    if request.join:
        groups = joined_groups(groups, [pair[:2] for pair in pairs])
    try:
        if not request.of:
            return _folds(request, groups, classes)
        seed, parts = request.seed, read_split(root, request.of)
        # No group of the count may be one that has nothing of the five classes.
        parts = {s: part for s, part in parts.items() if classes.get(s) != OTHER}
        prefix = f"{request.of}_s{seed}" if seed else request.of
        cells = (parts, groups, classes)
        dealt = {n: fewer_groups(*cells, count=n, seed=seed) for n in request.fewer}
        return {f"{prefix}_groups{n}": parts for n, parts in dealt.items()}
    except ValueError as error:
        raise UsageError(f"{request.name}: {error}") from None


def _folds(request: SplitRequest, groups, classes) -> Splits:
    seed, count = request.seed, request.folds
    if request.holdout is not None:
        share = request.holdout
        dealt = dict(
            holdout=grouped_holdout(groups, classes, fraction=share, seed=seed)
        )
    else:
        dealt = grouped_folds(groups, classes, folds=count, seed=seed)
        if count > 2:
            parts = development_split(dealt, test=count - 1, reserved=count)
            dealt["development"] = parts
    return {_name(request, end): parts for end, parts in dealt.items()}


def _name(request: SplitRequest, end: str) -> str:
    seed = request.seed
    return "_".join(w for w in (request.prefix, f"s{seed}" * (seed > 0), end) if w)


def _former_folds(request: SplitRequest, root: Path, splits: Splits) -> list[str]:
    """Return the folds of another dealing, of these names, that are not dealt now."""
    if request.of or request.holdout is not None:
        return []
    start = re.escape(_name(request, "fold").removesuffix("fold"))
    names = {path.stem for path in (root / "splits").glob("*.csv")} - splits.keys()
    return sorted(n for n in names if re.fullmatch(rf"{start}(fold\d+|development)", n))


def _report(
    name: str,
    state: str,
    parts: Mapping[str, str],
    rows: Sequence[IndexRow],
    pairs: Sequence[NearDuplicate],
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
    if not (root / "splits" / f"{name}.csv").exists():
        return WRITTEN
    try:
        return UNCHANGED if read_split(root, name) == parts else REPLACED
    except DatasetError:
        return REPLACED


def _refuse_replacing(root: Path, states: Mapping[str, str]) -> None:
    replaced = [name for name, state in states.items() if state == REPLACED]
    official = [name for name in replaced if OFFICIAL.fullmatch(name)]
    reason = "dealt otherwise"
    if official:
        reason = "official splits, under whose names results are compared"
    if replaced:
        raise DatasetError(
            f"{root} has {', '.join(official or replaced)} already: {reason}; choose "
            "another --prefix (with --fewer: --seed), or add --force to replace them"
        )
