"""Gather the page about a check: the findings with pictures, counts, and stains."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from leuko_mm.classes import BINARY_COLOURS, CLASS_COLOURS, CLASSES
from leuko_mm.datasets.audit import Audit, dataset_classes
from leuko_mm.datasets.audit_files import open_cell
from leuko_mm.datasets.audit_finding import RULES, AuditFinding, by_rule, tally
from leuko_mm.datasets.audit_stains import RegionColour
from leuko_mm.report.check_report import (
    CheckReport,
    ColourCell,
    CountRow,
    FindingSection,
    ShownFinding,
    Specimen,
    StainRow,
    colour_cell,
)
from leuko_mm.report.run_report import ClassLabel

SHOWN = 12


def check_page(audit: Audit, split: str | None = None) -> CheckReport:
    """Return the page's data; pictures of the findings are read again from the files.

    Args:
        audit: what was found.
        split: that was looked at alone.
    """
    labels = class_labels(dataset_classes(audit.about))
    named = [label.name for label in labels[1:]]
    of = f", split {split}" if split else ""
    name = audit.root.resolve().name
    return CheckReport(
        name=name,
        summary=summary(audit) + of + ".",
        tally=tally(audit.findings),
        classes=labels[1:],
        labels=labels,
        sections=tuple(_sections(audit)),
        counts=tuple(
            CountRow(row_split, part, tuple(by_class.get(n, 0) for n in named))
            for row_split, parts in audit.counts.items()
            for part, by_class in parts.items()
        ),
        stains=tuple(_stain_rows(audit)),
        closing="Made by leuko_mm; the same again: leuko check "
        + shlex.join([str(audit.root), *(["--split", split] if split else [])]),
    )


def summary(audit: Audit) -> str:
    """Return what was looked at, in a few words."""
    cells = [row for row in audit.rows if row.kind == "cell"]
    fields = len(audit.rows) - len(cells)
    groups = len({row.group for row in cells})
    splits = len(audit.counts) - 1
    words = f"{len(cells)} cells in {groups} groups"
    words += f", {fields} fields" if fields else ""
    return words + f", {splits} split{'s' * (splits != 1)}"


def class_labels(classes: Sequence[str]) -> tuple[ClassLabel, ...]:
    """Return name, short name and colour of a dataset's classes, by their ids.

    Example:
        >>> [label.short for label in class_labels(["background", "basophil"])]
        ['bg', 'baso']
    """
    known = {c.name: c for c in CLASSES}
    shorts = {c.name: c.aliases[-2] if c.id else c.aliases[0] for c in CLASSES}
    colours = (
        CLASS_COLOURS if all(name in known for name in classes) else BINARY_COLOURS
    )
    return tuple(
        ClassLabel(name, shorts.get(name, name[:4]), colours[index % len(colours)])
        for index, name in enumerate(classes)
    )


def _sections(audit: Audit) -> list[FindingSection]:
    rows = {row.stem: row for row in audit.rows}
    root = f"{audit.root}/"
    sections = []
    for rule, findings in by_rule(audit.findings):
        shown = tuple(
            ShownFinding(
                finding.file.removeprefix(root),
                finding.words,
                _specimens(audit, rows, finding),
            )
            for finding in findings[:SHOWN]
        )
        further = tuple((f.file.removeprefix(root), f.words) for f in findings[SHOWN:])
        severity = findings[0].severity
        title, cure = RULES[rule].title, RULES[rule].cure
        sections.append(FindingSection(severity, title, cure, shown, further))
    return sections


def _specimens(audit: Audit, rows: dict, finding: AuditFinding) -> tuple[Specimen, ...]:
    """Return pictures of what a finding is about, where they can be read."""
    specimens = []
    for stem in finding.stems:
        if stem in rows:
            files = open_cell(audit.root, rows[stem])
            image, labels = files.image, files.labels
            if image is not None:
                specimens.append(Specimen(stem, image, _drawable(labels, image)))
    return tuple(specimens)


def _drawable(labels: np.ndarray | None, image: np.ndarray) -> np.ndarray | None:
    """Return labels that fit their image, clipped to bytes; None if they do not."""
    if labels is None or labels.shape != image.shape[:2]:
        return None
    return np.clip(labels, 0, 255).astype(np.uint8)


def _stain_rows(audit: Audit) -> list[StainRow]:
    def farthest(stain) -> float:
        return max((c.distance for c in stain.regions.values() if c), default=0.0)

    return [
        StainRow(
            stain.group,
            stain.cells,
            _cell(stain.regions["background"]),
            _cell(stain.regions["cell"]),
        )
        for stain in sorted(audit.stains, key=farthest, reverse=True)
    ]


def _cell(colour: RegionColour | None) -> ColourCell | None:
    if colour is None:
        return None
    return colour_cell(
        colour.lab,
        colour.rgb,
        spread=colour.spread,
        distance=colour.distance,
        far=colour.far,
    )
