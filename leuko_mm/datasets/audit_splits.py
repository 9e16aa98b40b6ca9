"""Splits: who stands on both sides, and which classes a part lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from leuko_mm.datasets.audit_finding import ERROR, NOTE, WARNING, AuditFinding
from leuko_mm.datasets.near_duplicates import NearDuplicate, across_parts
from leuko_mm.datasets.prepared import PARTS, IndexRow
from leuko_mm.datasets.splits import shared_groups

SHOWN = 5
# Dealt over cells or mosaics as the paper did, to measure what that leaks.
BY_DESIGN = ("paper", "paper_mosaics")
PURPOSE = "by design, to measure what that leaks"

Counts = dict[str, dict[str, dict[str, int]]]


def leak_severity(split: str) -> str:
    """Return how grave it is that a split divides a group, by the split's name.

    A group is what may not be divided, whoever dealt the split; only the paper's two
    splits divide groups by design.

    Example:
        >>> [leak_severity(s) for s in ("grouped_fold3", "paper_mosaics", "mine")]
        ['error', 'note', 'error']
    """
    return NOTE if leaks_by_design(split) else ERROR


def leaks_by_design(split: str) -> bool:
    """Tell whether a split is one that is dealt over cells, not over groups.

    Example:
        >>> leaks_by_design("paper"), leaks_by_design("fold1")
        (True, False)
    """
    return split in BY_DESIGN


def unfit_split(
    file: Path, parts: Mapping[str, str], known: set[str]
) -> list[AuditFinding]:
    """Find cells that a split names and the index does not, and parts left empty.

    Args:
        file: of the split; its name says what the split promises.
        parts: stem -> ``train`` or ``test``.
        known: the stems of the index.
    """
    findings = []
    unknown = [stem for stem in parts if stem not in known]
    if unknown:
        words = (
            f"names {len(unknown)} cell(s) that are not in the index, first "
            f"{unknown[0]!r}"
        )
        findings.append(AuditFinding("broken-table", str(file), words))
    if set(PARTS) - set(parts.values()):
        words = "leaves train or test empty"
        findings.append(AuditFinding("broken-table", str(file), words))
    return findings


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
    severity = leak_severity(file.stem)
    if severity == NOTE:
        words += f"; {PURPOSE}"
    return [AuditFinding("split-leak", str(file), words, (), severity)]


def divided_copies(
    file: Path,
    parts: Mapping[str, str],
    pairs: Sequence[NearDuplicate],
    groups: Mapping[str, str],
) -> list[AuditFinding]:
    """Find near-duplicates on both sides of a split, but for those of one group.

    A group on both sides is a finding of its own, whatever its pictures look like.
    """
    return [
        AuditFinding(
            "split-leak",
            str(file),
            f"{a} ({parts[a]}) shows what {b} ({parts[b]}) shows; {bits} of 255 bits "
            "differ",
            (a, b),
            leak_severity(file.stem),
        )
        for a, b, bits in across_parts(pairs, parts)
        if groups[a] != groups[b]
    ]


def same_pictures(
    pairs: Sequence[NearDuplicate], groups: Mapping[str, str]
) -> list[AuditFinding]:
    """Find near-duplicates, whatever the splits are.

    Inside one group no grouped split leaks by them: the cell only counts twice.
    """
    findings = []
    for a, b, bits in pairs:
        inside = groups[a] == groups[b]
        where = f"both of {groups[a]}" if inside else f"{groups[a]} and {groups[b]}"
        words = f"shows what {b} shows ({where}); {bits} of 255 bits differ"
        severity = NOTE if inside else WARNING
        findings.append(AuditFinding("near-duplicate", a, words, (a, b), severity))
    return findings


def class_counts(
    splits: Mapping[str, Mapping[str, str]], rows: Sequence[IndexRow]
) -> Counts:
    """Return cells by split, part and class; all cells stand under ``all``."""
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
            # An empty part is a finding of its own.
            if split and by_class and absent:
                words = f"{part} has no {', no '.join(absent)}"
                findings.append(
                    AuditFinding("absent-class", f"splits/{split}.csv", words)
                )
    return findings
