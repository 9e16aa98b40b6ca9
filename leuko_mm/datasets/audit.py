"""Check a dataset: its files, splits and copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.classes import CLASS_NAMES, OTHER
from leuko_mm.datasets.audit_checks import (
    ERROR,
    NOTE,
    AuditFinding,
    cell_findings,
    changed_since,
    file_lists,
    fitting_orientations,
    open_cell,
    turned_masks,
)
from leuko_mm.datasets.duplicates import (
    NearDuplicate,
    Picture,
    across_parts,
    find_copies,
    picture_of,
)
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    IndexRow,
    cell_rows,
    how_to_fix,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.datasets.splits import shared_groups
from leuko_mm.files import sha256_of_file

SHOWN = 5
# The paper's splits divide groups, to measure what that leaks.
BY_DESIGN = ("paper", "paper_mosaics")
PURPOSE = "by design, to measure what that leaks"

Splits = Mapping[str, Mapping[str, str]]
Counts = dict[str, dict[str, dict[str, int]]]


def quick_check(root: Path, *, split: str | None = None) -> dict[str, int]:
    """Refuse a dataset that would stop or mislead a training half-way.

    Opens every image header and reads every mask that the split uses; None is all.

    Returns:
        Cells of the five classes by part, ``{'train': n, 'test': m}``, or
        ``{'all': n}``.

    Raises:
        DatasetError: naming the files, what is wrong with them and what to do.
    """
    root = Path(root)
    rows = cell_rows(root, other=True)
    if all(row.class_name == OTHER for row in rows):
        raise DatasetError(f"{root} holds no cell; {how_to_fix(root)}")
    parts = {row.stem: "all" for row in rows}
    findings = _index_findings(root)
    if split is not None:
        parts = read_split(root, split)
        groups = {row.stem: row.group for row in rows}
        file = _split_file(root, split)
        findings += unfit_split(file, parts, set(groups))
        findings += divided_groups(file, parts, groups)
    used = [row for row in rows if row.stem in parts]
    errors = [f for f in findings if f.severity == ERROR]
    if not errors:
        classes = dataset_classes(read_about(root))
        for row in used:
            found = open_cell(root, row, classes, decode=False).findings
            errors += [f for f in found if f.severity == ERROR]
    if errors:
        raise DatasetError(_refusal(root, errors))
    return dict(Counter(parts[row.stem] for row in used if row.class_name != OTHER))


def _refusal(root: Path, errors: Sequence[AuditFinding]) -> str:
    more = len(errors) - SHOWN
    shown = "\n".join(f"  - {finding}" for finding in errors[:SHOWN])
    rest = f"\n  and {more} more" if more > 0 else ""
    advice = f"Fix the files, or {how_to_fix(root)}"
    if {finding.rule for finding in errors} == {"split-leak"}:
        advice = f"Deal splits that divide no group:\n    leuko split {root}"
    return f"{root} has {len(errors)} fault(s):\n{shown}{rest}\n{advice}"


@dataclass(frozen=True)
class Audit:
    """The result of a full audit."""

    root: Path
    about: dict  # content of dataset.json
    rows: tuple[IndexRow, ...]  # that were checked
    findings: tuple[AuditFinding, ...]
    counts: Counts  # cells by split, part and class


def full_audit(root: Path, *, split: str | None = None) -> Audit:
    """Check every file, decoded to its end, and every split, or one with its cells.

    Raises:
        DatasetError: if it is no prepared dataset, or has no such split.
    """
    root = Path(root)
    about = read_about(root)
    try:
        rows = read_index(root)
        findings = _index_findings(root)
    except DatasetError as error:
        finding = _broken_table(root / "index.csv", error)
        return Audit(root, about, (), (finding,), class_counts({}, []))
    if split is None:
        splits, broken = _read_splits(root)
        findings += [*broken, *file_lists(root, rows)]
    else:
        splits = {split: read_split(root, split)}
        rows = [row for row in rows if row.stem in splits[split]]
    pictures: dict[str, Picture] = {}
    orientations: list[dict[str, bool]] = []
    classes = dataset_classes(about)
    for row in rows:
        findings += _row_findings(root, row, classes, pictures, orientations)
    if words := turned_masks(orientations):
        findings.append(AuditFinding("turned-masks", str(root / "masks"), words))
    cells = [row for row in rows if row.kind == "cell"]
    if not cells:
        findings.append(AuditFinding("broken-table", str(root), "holds no cell"))
    findings += _split_findings(root, splits, rows, pictures)
    counts = class_counts(splits, rows)
    findings += absent_classes(counts)
    return Audit(root, about, tuple(rows), tuple(findings), counts)


def dataset_classes(about: Mapping) -> tuple[str, ...]:
    """Return the class names of a dataset by their ids, from its ``dataset.json``."""
    return tuple(about.get("classes") or CLASS_NAMES)


def _index_findings(root: Path) -> list[AuditFinding]:
    path = root / "index.csv"
    if sha256_of_file(path) == read_about(root).get("sha256"):
        return []
    words = "is not the one that dataset.json was written for: edited or cut short"
    return [AuditFinding("broken-table", str(path), words)]


def _read_splits(root: Path) -> tuple[Splits, list[AuditFinding]]:
    splits, findings = {}, []
    for path in sorted((root / "splits").glob("*.csv")):
        try:
            splits[path.stem] = read_split(root, path.stem)
        except DatasetError as error:
            findings.append(_broken_table(path, error))
    return splits, findings


def _broken_table(path: Path, error: DatasetError) -> AuditFinding:
    # The further lines of the message give the command that fixes it.
    return AuditFinding("broken-table", str(path), str(error).splitlines()[0])


def _row_findings(
    root: Path,
    row: IndexRow,
    classes: Sequence[str],
    pictures: dict[str, Picture],
    orientations: list[dict[str, bool]],
) -> Iterator[AuditFinding]:
    files = open_cell(root, row, classes)
    yield from files.findings
    if files.image is not None:
        pictures[row.stem] = picture_of(files.image)
    if files.image is None or files.labels is None:
        return
    yield from changed_since(root, row)
    if files.labels.shape != files.image.shape[:2]:
        return
    orientations.append(fitting_orientations(files.image, files.labels))
    if row.kind == "cell":
        yield from cell_findings(root / row.mask, files.labels, stem=row.stem)


def _split_file(root: Path, split: str) -> Path:
    return root / "splits" / f"{split}.csv"


def _split_findings(
    root: Path,
    splits: Splits,
    rows: Sequence[IndexRow],
    pictures: Mapping[str, Picture],
) -> Iterator[AuditFinding]:
    groups = {row.stem: row.group for row in rows}
    cells = {row.stem for row in rows if row.kind == "cell"}
    pairs = find_copies(pictures, groups)
    for split, parts in splits.items():
        file = _split_file(root, split)
        yield from unfit_split(file, parts, cells)
        yield from divided_groups(file, parts, groups)
        yield from divided_copies(file, parts, pairs)
    yield from same_pictures(pairs, groups)
    yield from contradicting_copies([*_same_files(root, rows), *pairs], rows)


def leaks_by_design(split: str) -> bool:
    """Tell whether a split is one of the paper's, which divide groups on purpose."""
    return split in BY_DESIGN


def _leak(file: Path, words: str, stems: tuple[str, ...] = ()) -> AuditFinding:
    severity = NOTE if leaks_by_design(file.stem) else ERROR
    return AuditFinding("split-leak", str(file), words, stems, severity)


def unfit_split(
    file: Path, parts: Mapping[str, str], known: set[str]
) -> list[AuditFinding]:
    """Find cells of a split that are not ``known`` by the index, and empty parts."""
    words = []
    unknown = [stem for stem in parts if stem not in known]
    if unknown:
        words.append(
            f"names {len(unknown)} cell(s) that are not in the index, first "
            f"{unknown[0]!r}"
        )
    if set(PARTS) - set(parts.values()):
        words.append("leaves train or test empty")
    return [AuditFinding("broken-table", str(file), w) for w in words]


def divided_groups(
    file: Path, parts: Mapping[str, str], groups: Mapping[str, str]
) -> list[AuditFinding]:
    """Find the groups on both sides of a split; one finding names them all."""
    shared = shared_groups({s: p for s, p in parts.items() if s in groups}, groups)
    if not shared:
        return []
    rest = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
    words = (
        f"{len(shared)} group(s) in train and test: {', '.join(shared[:SHOWN])}{rest}"
    )
    if leaks_by_design(file.stem):
        words += f"; {PURPOSE}"
    return [_leak(file, words)]


def divided_copies(
    file: Path, parts: Mapping[str, str], pairs: Sequence[NearDuplicate]
) -> list[AuditFinding]:
    """Find the copies on both sides of a split."""
    return [
        _leak(
            file,
            f"{a} ({parts[a]}) shows what {b} ({parts[b]}) shows; alike to "
            f"{likeness:.0%}",
            (a, b),
        )
        for a, b, likeness in across_parts(pairs, parts)
    ]


def same_pictures(
    pairs: Sequence[NearDuplicate], groups: Mapping[str, str]
) -> list[AuditFinding]:
    """Find copies in two groups; inside one group they do no harm."""
    return [
        AuditFinding(
            "near-duplicate",
            a,
            f"shows what {b} shows ({groups[a]} and {groups[b]}); alike to "
            f"{likeness:.0%}",
            (a, b),
        )
        for a, b, likeness in pairs
    ]


def _same_files(root: Path, rows: Sequence[IndexRow]) -> Iterator[NearDuplicate]:
    # In one group, pictures that are only alike may show neighbours in one field.
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        path = root / row.image
        if row.kind == "cell" and path.is_file():
            other = first.setdefault((row.group, sha256_of_file(path)), row.stem)
            if other != row.stem:
                yield NearDuplicate(other, row.stem, 1.0)


def contradicting_copies(
    pairs: Iterable[NearDuplicate], rows: Sequence[IndexRow]
) -> list[AuditFinding]:
    """Find copies that have two classes."""
    classes = {row.stem: row.class_name for row in rows}
    return [
        AuditFinding(
            "class-conflict",
            a,
            f"is {classes[a]}, and {b}, which shows the same, is {classes[b]}; alike "
            f"to {likeness:.0%}",
            (a, b),
        )
        for a, b, likeness in pairs
        if classes[a] != classes[b]
    ]


def class_counts(splits: Splits, rows: Sequence[IndexRow]) -> Counts:
    """Return cells by split, part and class; split '' has the part ``all``."""
    names = {row.stem: row.class_name for row in rows if row.kind == "cell"}
    counts: Counts = {"": {"all": dict(Counter(names.values()))}}
    for split, parts in splits.items():
        counts[split] = {
            part: dict(
                Counter(names[s] for s, p in parts.items() if p == part and s in names)
            )
            for part in PARTS
        }
    return counts


def absent_classes(counts: Counts) -> list[AuditFinding]:
    """Find the classes of the dataset of which a part of a split has no cell."""
    findings = []
    for split, parts in counts.items():
        for part, by_class in parts.items():
            absent = [c for c in counts[""]["all"] if not by_class.get(c)]
            absent = [name for name in absent if name != OTHER]
            # An empty part is a finding of its own.
            if split and by_class and absent:
                file, words = f"splits/{split}.csv", f"{part} has no "
                words += ", no ".join(absent)
                findings.append(AuditFinding("absent-class", file, words))
    return findings
