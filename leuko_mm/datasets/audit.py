"""Check a dataset: files, splits, stains and copies.

The rules stand in the files beside this one, ``audit_files``, ``audit_labels``,
``audit_cells``, ``audit_splits`` and ``audit_stains``; both checks use the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL
from leuko_mm.datasets.audit_checks import (
    ERROR,
    NOTE,
    WARNING,
    AuditFinding,
    cell_findings,
    changed_since,
    file_lists,
    label_findings,
    open_cell,
)
from leuko_mm.datasets.duplicates import (
    NearDuplicate,
    across_parts,
    near_duplicates,
    perceptual_hash,
)
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    IndexRow,
    how_to_mend,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.datasets.splits import shared_groups
from leuko_mm.files import sha256_of_file

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


REGIONS = ("background", "cell")
# Fewer pixels give no mean worth the name.
ENOUGH_PIXELS = 16
# Of so few groups nobody can say which is the odd one.
ENOUGH_GROUPS = 5
# A group is far out from this many deviations of the groups' distances on, and from
# this colour difference (delta E of 1976) on, which no eye overlooks.
DEVIATIONS = 3.5
SEEN = 10.0
# Of a normal distribution, the standard deviation by the median absolute one.
NORMAL = 1.4826


@dataclass(frozen=True)
class RegionColour:
    """Colour of one region over the cells of a group.

    Args:
        lab: mean L*, a*, b*.
        rgb: the same colour in sRGB, 0-255.
        spread: mean distance of the cells' own means from it, in delta E.
        distance: from the median of all groups, in delta E.
        far: whether that is unlike the other groups' distances.
    """

    lab: tuple[float, float, float]
    rgb: tuple[int, int, int]
    spread: float
    distance: float
    far: bool


@dataclass(frozen=True)
class GroupStain:
    """Colours of one group; a region that no cell of it has is None."""

    group: str
    cells: int
    regions: Mapping[str, RegionColour | None]


def region_means(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean CIELAB of background and cell; NaN where there are few pixels.

    Args:
        image: RGB uint8.
        labels: class ids; 255 belongs to neither.

    Shape:
        (H, W, 3), (H, W) -> (2, 3).

    Example:
        >>> white = np.full((8, 8, 3), 255, np.uint8)
        >>> region_means(white, np.zeros((8, 8), np.uint8)).round(1).tolist()
        [[100.0, 0.0, 0.0], [nan, nan, nan]]
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    background = labels == BACKGROUND
    cell = ~background & (labels != IGNORE_LABEL)
    means = np.full((2, 3), np.nan)
    for index, region in enumerate((background, cell)):
        if region.sum() >= ENOUGH_PIXELS:
            means[index] = lab[region].mean(axis=0)
    return means


def group_stains(
    means: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> list[GroupStain]:
    """Return the colours of every group, in the order of their names.

    Args:
        means: stem -> :func:`region_means`.
        groups: stem -> group.
    """
    names = sorted({groups[stem] for stem in means})
    of = {name: [means[s] for s in means if groups[s] == name] for name in names}
    columns = [_region([np.array(of[n])[:, i] for n in names]) for i in range(2)]
    return [
        GroupStain(name, len(of[name]), dict(zip(REGIONS, colours, strict=True)))
        for name, *colours in zip(names, *columns, strict=True)
    ]


def _region(cells: Sequence[np.ndarray]) -> list[RegionColour | None]:
    """Return one region's colour in every group, from its cells' means (N, 3)."""
    kept = [values[~np.isnan(values).any(axis=1)] for values in cells]
    full = [i for i, values in enumerate(kept) if len(values)]
    colours: list[RegionColour | None] = [None] * len(cells)
    if not full:
        return colours
    labs = np.array([kept[i].mean(axis=0) for i in full])
    distances = np.linalg.norm(labs - np.median(labs, axis=0), axis=1)
    far = _far(distances)
    for place, i in enumerate(full):
        spread = np.linalg.norm(kept[i] - labs[place], axis=1).mean()
        colours[i] = RegionColour(
            lab=tuple(labs[place].tolist()),
            rgb=_rgb(labs[place]),
            spread=float(spread),
            distance=float(distances[place]),
            far=bool(far[place]),
        )
    return colours


def _far(distances: np.ndarray) -> np.ndarray:
    if len(distances) < ENOUGH_GROUPS:
        return np.zeros(len(distances), bool)
    usual = np.median(distances)
    deviation = NORMAL * np.median(np.abs(distances - usual))
    return distances > max(SEEN, usual + DEVIATIONS * deviation)


def _rgb(lab: np.ndarray) -> tuple[int, int, int]:
    colour = cv2.cvtColor(lab.astype(np.float32).reshape(1, 1, 3), cv2.COLOR_LAB2RGB)
    return tuple(np.rint(np.clip(colour[0, 0], 0, 1) * 255).astype(int).tolist())


def stain_findings(
    stains: Sequence[GroupStain], stems: Mapping[str, str]
) -> list[AuditFinding]:
    """Return a finding for every group far out.

    Args:
        stains: of :func:`group_stains`.
        stems: group -> a cell that shows it.
    """
    findings = []
    for stain in stains:
        words = [
            f"its {region} lies {colour.distance:.0f} delta E from the median group"
            for region, colour in stain.regions.items()
            if colour is not None and colour.far
        ]
        if words:
            shown = (stems[stain.group],) if stain.group in stems else ()
            findings.append(
                AuditFinding(
                    "odd-stain", f"group {stain.group}", ", ".join(words), shown
                )
            )
    return findings


SHOWN_AUDIT = 5


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
    more = len(errors) - SHOWN_AUDIT
    shown = "\n".join(f"  - {finding}" for finding in errors[:SHOWN_AUDIT])
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
