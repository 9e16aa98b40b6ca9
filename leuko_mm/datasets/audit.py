"""Check a dataset: the quick part before a training, and everything there is to find.

The rules stand in the files beside this one, ``audit_files``, ``audit_labels``,
``audit_cells``, ``audit_splits`` and ``audit_stains``; both checks use the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.audit_cells import cell_findings
from leuko_mm.datasets.audit_files import changed_since, file_lists, open_cell
from leuko_mm.datasets.audit_finding import ERROR, AuditFinding
from leuko_mm.datasets.audit_labels import label_findings
from leuko_mm.datasets.audit_splits import (
    Counts,
    absent_classes,
    class_counts,
    divided_copies,
    divided_groups,
    same_pictures,
    unfit_split,
)
from leuko_mm.datasets.audit_stains import (
    GroupStain,
    group_stains,
    region_means,
    stain_findings,
)
from leuko_mm.datasets.near_duplicates import near_duplicates, perceptual_hash
from leuko_mm.datasets.prepared import (
    DatasetError,
    IndexRow,
    how_to_mend,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.files import sha256_of_file

SHOWN = 5


def quick_check(root: Path, *, split: str | None = None) -> dict[str, int]:
    """Refuse a dataset that would stop or mislead a training half-way.

    Opens every image header and reads every mask that the split uses.

    Args:
        root: a prepared dataset.
        split: check the cells of this split only; None checks all.

    Returns:
        Cells by part, ``{'train': n, 'test': m}``, or ``{'all': n}``.

    Raises:
        DatasetError: naming the files, what is wrong with them and what to do.
    """
    root = Path(root)
    rows = [row for row in read_index(root) if row.kind == "cell"]
    if not rows:
        raise DatasetError(f"{root} holds no cell; {how_to_mend(root)}")
    parts = {row.stem: "all" for row in rows}
    findings = index_findings(root)
    if split is not None:
        parts = read_split(root, split)
        groups = {row.stem: row.group for row in rows}
        findings += unfit_split(split_file(root, split), parts, set(groups))
        findings += divided_groups(split_file(root, split), parts, groups)
    used = [row for row in rows if row.stem in parts]
    classes = dataset_classes(read_about(root))
    if not any(finding.severity == ERROR for finding in findings):
        findings += [f for row in used for f in row_findings(root, row, classes)]
    _refuse(root, [f for f in findings if f.severity == ERROR])
    return dict(Counter(parts[row.stem] for row in used))


def _refuse(root: Path, errors: Sequence[AuditFinding]) -> None:
    if not errors:
        return
    more = len(errors) - SHOWN
    shown = "\n".join(f"  - {finding}" for finding in errors[:SHOWN])
    rest = f"\n  and {more} more" if more > 0 else ""
    mend = f"Mend the files, or {how_to_mend(root)}"
    if {finding.rule for finding in errors} == {"split-leak"}:
        mend = f"Deal splits that divide no group:\n    leuko split {root}"
    raise DatasetError(f"{root} has {len(errors)} fault(s):\n{shown}{rest}\n{mend}")


def split_file(root: Path, split: str) -> Path:
    """Return where a split stands."""
    return root / "splits" / f"{split}.csv"


def dataset_classes(about: Mapping) -> tuple[str, ...]:
    """Return the class names of a dataset by their ids, from its ``dataset.json``."""
    return tuple(about.get("classes") or CLASS_NAMES)


def index_findings(root: Path) -> list[AuditFinding]:
    """Find an index that is not the one ``dataset.json`` was written for."""
    path = Path(root) / "index.csv"
    if sha256_of_file(path) == read_about(root).get("sha256"):
        return []
    words = "is not the one that dataset.json was written for: edited or cut short"
    return [AuditFinding("broken-table", str(path), words)]


def row_findings(
    root: Path, row: IndexRow, classes: Sequence[str] = CLASS_NAMES
) -> list[AuditFinding]:
    """Return what is wrong with one cell's files, seen quickly."""
    files = open_cell(root, row, decode=False)
    return [*files.findings, *_label_findings(root, row, files.labels, classes)]


def _label_findings(
    root: Path, row: IndexRow, labels: np.ndarray | None, classes: Sequence[str]
) -> list[AuditFinding]:
    if labels is None:
        return []
    return label_findings(
        root / row.mask, labels, row.class_name, classes=classes, stem=row.stem
    )


@dataclass(frozen=True)
class Audit:
    """Everything that was found out about a dataset.

    Args:
        root: the dataset.
        about: content of its ``dataset.json``.
        rows: what was looked at.
        findings: what is wrong.
        counts: cells by split, part and class.
        stains: colours by group.
    """

    root: Path
    about: dict
    rows: tuple[IndexRow, ...]
    findings: tuple[AuditFinding, ...]
    counts: Counts
    stains: tuple[GroupStain, ...]


def full_audit(root: Path, *, split: str | None = None) -> Audit:
    """Look at every file, decoded to its end, and at every split.

    Args:
        root: a prepared dataset.
        split: look at this split and its cells only.

    Raises:
        DatasetError: if it is no prepared dataset, or has no such split.
    """
    root = Path(root)
    about = read_about(root)
    try:
        rows = read_index(root)
        findings = index_findings(root)
    except DatasetError as error:
        found = AuditFinding("broken-table", str(root / "index.csv"), _first(error))
        return Audit(root, about, (), (found,), class_counts({}, []), ())
    splits, broken = _read_splits(root, split)
    findings += broken
    if split is None:
        findings += file_lists(root, rows)
    else:
        rows = [row for row in rows if row.stem in splits[split]]
    means: dict[str, np.ndarray] = {}
    hashes: dict[str, int] = {}
    classes = dataset_classes(about)
    for row in rows:
        findings += _look_at(root, row, classes, hashes, means)
    cells = [row for row in rows if row.kind == "cell"]
    if not cells:
        findings.append(AuditFinding("broken-table", str(root), "holds no cell"))
    findings += _split_findings(root, splits, rows, hashes)
    counts = class_counts(splits, rows)
    groups = {row.stem: row.group for row in cells}
    stains = group_stains(means, groups)
    shown = {groups[stem]: stem for stem in means}
    findings += [*absent_classes(counts), *stain_findings(stains, shown)]
    return Audit(root, about, tuple(rows), tuple(findings), counts, tuple(stains))


def _read_splits(
    root: Path, split: str | None
) -> tuple[dict[str, dict[str, str]], list[AuditFinding]]:
    """Return the readable splits, and a finding for each that is not."""
    if split is not None:
        return {split: read_split(root, split)}, []
    splits, findings = {}, []
    for path in sorted((root / "splits").glob("*.csv")):
        try:
            splits[path.stem] = read_split(root, path.stem)
        except DatasetError as error:
            findings.append(AuditFinding("broken-table", str(path), _first(error)))
    return splits, findings


def _first(error: DatasetError) -> str:
    """Return an error's first line; the rest names the command that mends it."""
    return str(error).splitlines()[0]


def _look_at(
    root: Path, row: IndexRow, classes: Sequence[str], hashes: dict, means: dict
) -> Iterator[AuditFinding]:
    """Yield the findings of one row; keep the hash and the colours of its image."""
    files = open_cell(root, row)
    yield from files.findings
    yield from _label_findings(root, row, files.labels, classes)
    if files.image is not None:
        hashes[row.stem] = perceptual_hash(files.image)
    if files.image is None or files.labels is None:
        return
    yield from changed_since(root, row)
    fits = files.labels.shape == files.image.shape[:2]
    if row.kind == "cell" and fits:
        yield from cell_findings(root / row.mask, files.labels, stem=row.stem)
        means[row.stem] = region_means(files.image, files.labels)


def _split_findings(
    root: Path,
    splits: Mapping[str, Mapping[str, str]],
    rows: Sequence[IndexRow],
    hashes: Mapping[str, int],
) -> Iterator[AuditFinding]:
    groups = {row.stem: row.group for row in rows}
    cells = {row.stem for row in rows if row.kind == "cell"}
    pairs = near_duplicates(hashes)
    for split, parts in splits.items():
        file = split_file(root, split)
        yield from unfit_split(file, parts, cells)
        yield from divided_groups(file, parts, groups)
        yield from divided_copies(file, parts, pairs, groups)
    yield from same_pictures(pairs, groups)
