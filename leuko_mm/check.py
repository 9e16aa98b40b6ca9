"""Check a dataset and write what was found, as JSON and as a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import leuko_mm
from leuko_mm.classes import (
    BINARY_COLOURS,
    CLASS_COLOURS,
    CLASSES,
    OTHER,
    OTHER_COLOUR,
)
from leuko_mm.datasets.audit import (
    Audit,
    GroupStain,
    RegionColour,
    dataset_classes,
    full_audit,
)
from leuko_mm.datasets.audit_checks import (
    RULES,
    AuditFinding,
    by_rule,
    open_cell,
    tally,
)
from leuko_mm.datasets.prepared import BY_MODEL, dataset_root
from leuko_mm.errors import UsageError
from leuko_mm.files import real_path, replacing_folder, write_text
from leuko_mm.report.check_page import (
    CheckReport,
    FindingPicture,
    FindingSection,
    render_check_report,
)
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.preflight import draw_synthetic

PAGE_FILE, JSON_FILE = "check.html", "check.json"
SCHEMA = 1
SHOWN = 12  # findings of a kind that the page shows with pictures


def check(
    name: str,
    *,
    split: str | None = None,
    out: Path | None = None,
    json_file: Path | None = None,
    force: bool = False,
) -> Audit:
    """Check a dataset, or one split of it, and write what was asked for.

    Args:
        out: folder of the page and its data; None writes neither.
        json_file: the findings alone; None writes none.
        force: replace an earlier check.

    Raises:
        DatasetError: if it is no prepared dataset, or has no such split.
        UsageError: if something else is in the place of the results, or they cannot
            be written.
    """
    if out is not None:
        _check_folder(out, force=force)
    if json_file is not None:
        _check_file(json_file, force=force)
    draw_synthetic(name)
    audit = full_audit(dataset_root(name), split=split)
    text = json.dumps(as_json(audit, split), indent=2) + "\n"
    try:
        if out is not None:
            with replacing_folder(out) as building:
                page = render_check_report(check_page(audit, split))
                (building / PAGE_FILE).write_text(page, encoding="utf-8")
                (building / JSON_FILE).write_text(text, encoding="utf-8")
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            write_text(json_file, text)
    except OSError as error:
        raise UsageError(
            f"what was found could not be written ({error}); choose another place"
        ) from error
    return audit


def _check_folder(out: Path, *, force: bool) -> None:
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


def _check_file(file: Path, *, force: bool) -> None:
    if file.is_dir():
        raise UsageError(f"{file} is a folder; --json takes a file")
    if file.exists() and not force:
        raise UsageError(
            f"{file} exists; add --force to replace it, or choose another --json"
        )


def summary(audit: Audit) -> str:
    """Return what was checked, in a few words."""
    cells = [row for row in audit.rows if row.kind == "cell"]
    fields = len(audit.rows) - len(cells)
    groups = len({row.group for row in cells})
    splits = len(audit.counts) - 1
    words = f"{len(cells)} cells in {groups} groups"
    words += f", {fields} fields" if fields else ""
    by_model = sum(row.outline == BY_MODEL for row in audit.rows)
    words += f", {by_model} outlines drawn by a model" if by_model else ""
    return words + f", {splits} split{'s' * (splits != 1)}"


def in_dataset(audit: Audit, file: str) -> str:
    """Return a file or a finding's text without the path of the dataset."""
    return file.removeprefix(f"{audit.root}/")


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
                "file": in_dataset(audit, finding.file),
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
                **{name: _colour(colour) for name, colour in stain.regions.items()},
            }
            for stain in audit.stains
        ],
    }


def _colour(colour: RegionColour | None) -> Mapping | None:
    if colour is None:
        return None
    return {
        "lab": [round(value, 2) for value in colour.lab],
        "rgb": list(colour.rgb),
        "spread": round(colour.spread, 2),
        "distance": round(colour.distance, 2),
        "far": colour.far,
    }


def check_page(audit: Audit, split: str | None = None) -> CheckReport:
    """Return the content of the page; pictures are read again from the files."""
    labels = audit_labels(audit)
    only = ["--split", split] if split else []
    return CheckReport(
        name=real_path(audit.root).name,
        summary=summary(audit) + (f", split {split}" if split else "") + ".",
        tally=tally(audit.findings),
        classes=labels,
        sections=tuple(_sections(audit)),
        counts=tuple(
            (name, part, tuple(by_class.get(label.name, 0) for label in labels[1:]))
            for name, parts in audit.counts.items()
            for part, by_class in parts.items()
        ),
        stains=sorted(audit.stains, key=_largest_distance, reverse=True),
        closing="Made by leuko_mm; the same again: leuko check "
        + shlex.join([str(audit.root), *only]),
    )


def class_labels(classes: Sequence[str]) -> tuple[ClassLabel, ...]:
    """Return name, abbreviation and colour of a dataset's classes, by their ids."""
    shorts = {c.name: c.aliases[-2] if c.id else c.aliases[0] for c in CLASSES}
    colours = CLASS_COLOURS if set(classes) <= set(shorts) else BINARY_COLOURS
    return tuple(
        ClassLabel(name, shorts.get(name, name[:4]), colours[index % len(colours)])
        for index, name in enumerate(classes)
    )


def audit_labels(audit: Audit) -> tuple[ClassLabel, ...]:
    """Return the classes that an audit counts: also ``other``, where there is one."""
    labels = class_labels(dataset_classes(audit.about))
    if any(row.class_name == OTHER for row in audit.rows):
        labels += (ClassLabel(OTHER, OTHER, OTHER_COLOUR),)
    return labels


def _sections(audit: Audit) -> Iterator[FindingSection]:
    for rule, findings in by_rule(audit.findings):
        found = [(in_dataset(audit, f.file), f.words) for f in findings]
        pictures = (tuple(_pictures(audit, f)) for f in findings[:SHOWN])
        yield FindingSection(
            findings[0].severity,
            RULES[rule].title,
            RULES[rule].cure,
            tuple((*said, p) for said, p in zip(found[:SHOWN], pictures, strict=True)),
            tuple(found[SHOWN:]),
        )


def _pictures(audit: Audit, finding: AuditFinding) -> Iterator[FindingPicture]:
    rows = {row.stem: row for row in audit.rows if row.stem in finding.stems}
    for stem in finding.stems:
        if stem not in rows:
            continue
        files = open_cell(audit.root, rows[stem])
        image, labels = files.image, files.labels
        if labels is not None and image is not None:
            fits = labels.shape == image.shape[:2]
            labels = np.clip(labels, 0, 255).astype(np.uint8) if fits else None
        if image is not None:
            yield FindingPicture(stem, image, labels)


def _largest_distance(stain: GroupStain) -> float:
    return max((c.distance for c in stain.regions.values() if c), default=0.0)
