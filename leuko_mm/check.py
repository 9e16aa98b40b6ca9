"""Check a dataset and write what was found: a table, JSON, and a page."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import leuko_mm
from leuko_mm.classes import BINARY_COLOURS, CLASS_COLOURS, CLASSES
from leuko_mm.datasets.audit import Audit, dataset_classes, full_audit
from leuko_mm.datasets.audit_checks import (
    RULES,
    AuditFinding,
    by_rule,
    open_cell,
    tally,
)
from leuko_mm.datasets.prepared import dataset_root
from leuko_mm.datasets.stains import RegionColour
from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder, write_text
from leuko_mm.report.check_page import (
    CheckReport,
    ColourCell,
    CountRow,
    FindingSection,
    ShownFinding,
    Specimen,
    StainRow,
    colour_cell,
    render_check_report,
)
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.preflight import draw_synthetic

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


PAGE_FILE, JSON_FILE = "check.html", "check.json"
SCHEMA = 1


@dataclass(frozen=True)
class CheckRequest:
    """What ``leuko check`` was asked for.

    Args:
        name: of the dataset, or its path.
        split: look at this split only.
        out: folder of the page and its data; None writes neither.
        json: file for the findings alone; None writes none.
        force: replace a former check.
    """

    name: str
    split: str | None = None
    out: Path | None = None
    json: Path | None = None
    force: bool = False


def check(request: CheckRequest) -> Audit:
    """Look at a dataset and write what was asked for.

    Raises:
        DatasetError: if it is no prepared dataset, or has no such split.
        UsageError: if something stands where the results belong.
    """
    if request.out is not None:
        refuse_folder(request.out, force=request.force)
    if request.json is not None:
        refuse_file(request.json, force=request.force)
    draw_synthetic(request.name)
    audit = full_audit(dataset_root(request.name), split=request.split)
    content = as_json(audit, request.split)
    try:
        if request.out is not None:
            write_folder(request.out, audit, content, request)
        if request.json is not None:
            request.json.parent.mkdir(parents=True, exist_ok=True)
            write_text(request.json, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise UsageError(
            f"what was found could not be written ({error}); choose another place"
        ) from error
    return audit


def refuse_folder(out: Path, *, force: bool) -> None:
    """Refuse to write over a former check, and ever over anything else.

    Raises:
        UsageError: saying what stands there.
    """
    if not out.exists():
        return
    there = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if not out.is_dir() or there - {PAGE_FILE, JSON_FILE}:
        raise UsageError(
            f"{out} holds something else than a check; choose another --out"
        )
    if there and not force:
        raise UsageError(
            f"{out} holds a check; add --force to replace it, or choose another --out"
        )


def refuse_file(file: Path, *, force: bool) -> None:
    """Refuse to write over a file that is not meant to be replaced.

    Raises:
        UsageError: saying what stands there.
    """
    if file.is_dir():
        raise UsageError(f"{file} is a folder; --json takes a file")
    if file.exists() and not force:
        raise UsageError(
            f"{file} exists; add --force to replace it, or choose another --json"
        )


def as_json(audit: Audit, split: str | None = None) -> dict:
    """Return everything that was found as plain data; files relative to the dataset."""
    return {
        "schema": SCHEMA,
        "leuko_mm": leuko_mm.__version__,
        "dataset": str(audit.root),
        "sha256": audit.about.get("sha256"),
        "split": split,
        "cells": sum(row.kind == "cell" for row in audit.rows),
        "fields": sum(row.kind == "field" for row in audit.rows),
        "groups": len(audit.stains),
        "tally": tally(audit.findings),
        "findings": [
            {
                "severity": finding.severity,
                "rule": rule,
                "file": inside(audit, finding.file),
                "words": finding.words,
                "cure": finding.cure,
                "stems": list(finding.stems),
            }
            for rule, findings in by_rule(audit.findings)
            for finding in findings
        ],
        "counts": audit.counts,
        "stains": [
            {
                "group": stain.group,
                "cells": stain.cells,
                **{name: _colour(c) for name, c in stain.regions.items()},
            }
            for stain in audit.stains
        ],
    }


def inside(audit: Audit, file: str) -> str:
    """Return a file by its place in the dataset, whose own place is said once."""
    return file.removeprefix(f"{audit.root}/")


def _colour(colour) -> Mapping | None:
    if colour is None:
        return None
    return {
        "lab": [round(value, 2) for value in colour.lab],
        "rgb": list(colour.rgb),
        "spread": round(colour.spread, 2),
        "distance": round(colour.distance, 2),
        "far": colour.far,
    }


def write_folder(
    out: Path, audit: Audit, content: Mapping, request: CheckRequest
) -> None:
    """Write the page and its data, both or neither."""
    place = out.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        page = render_check_report(check_page(audit, request.split))
        (building / PAGE_FILE).write_text(page, encoding="utf-8")
        text = json.dumps(content, indent=2) + "\n"
        (building / JSON_FILE).write_text(text, encoding="utf-8")
        replace_folder(place, building)
    finally:
        shutil.rmtree(building, ignore_errors=True)
