"""Check a dataset and write what was found, as JSON and as a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import leuko_mm
from leuko_mm.classes import (
    BINARY_COLOURS,
    CLASS_COLOURS,
    OTHER,
    OTHER_COLOUR,
)
from leuko_mm.datasets.audit import (
    Audit,
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
from leuko_mm.files import real_path, refuse_others, replacing_folder
from leuko_mm.report.html import picture, render
from leuko_mm.report.overlay import RGB, fitted, overlay
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.preflight import draw_synthetic
from leuko_mm.training.run_report import class_labels

PAGE_FILE, JSON_FILE = "check.html", "check.json"
SCHEMA = 1
SHOWN = 12  # findings of a kind that the page shows with pictures
THUMBNAIL_SIDE = 200  # px of the longer side: sharp at 100 on a phone
QUALITY = 82
# What a severity is called on the page: in words as well as in colour.
SIGNS = {"error": "✗ error", "warning": "! warning", "note": "· note"}


@dataclass(frozen=True)
class FindingPicture:
    """A picture (H, W, 3) and class ids (H, W) to outline on it; None shows it bare."""

    stem: str
    image: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class FindingSection:
    """All findings of one kind.

    ``shown`` are the first ones, as (file, words, pictures), ``further`` the others.
    """

    severity: str
    title: str
    cure: str
    shown: tuple[tuple[str, str, tuple[FindingPicture, ...]], ...]
    further: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """Content of the page; classes by id, sections with the gravest first.

    Args:
        tally: number of findings by severity.
        counts: (split, part, cells of each class without the background).
    """

    name: str
    summary: str
    tally: Mapping[str, int]
    classes: tuple[ClassLabel, ...]
    sections: tuple[FindingSection, ...]
    counts: tuple[tuple[str, str, tuple[int, ...]], ...]
    closing: str


def check(
    name: str,
    *,
    split: str | None = None,
    out: Path | None = None,
    force: bool = False,
) -> Audit:
    """Check a dataset, or one split of it, and write what was asked for.

    Args:
        out: folder of the page and its data; None writes neither.
        force: replace an earlier check.

    Raises:
        DatasetError: if it is no prepared dataset, or has no such split.
        UsageError: if something else is in the place of the results, or they cannot
            be written.
    """
    if out is not None:
        refuse_others(out, "a check", (PAGE_FILE, JSON_FILE), force=force)
    draw_synthetic(name)
    audit = full_audit(dataset_root(name), split=split)
    text = json.dumps(as_json(audit, split), indent=2) + "\n"
    try:
        if out is not None:
            with replacing_folder(out) as building:
                page = render_check_report(check_page(audit, split))
                (building / PAGE_FILE).write_text(page, encoding="utf-8")
                (building / JSON_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"what was found could not be written ({error}); choose another place"
        ) from error
    return audit


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
        "groups": len({row.group for row in audit.rows if row.kind == "cell"}),
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
        closing="Made by leuko_mm; the same again: leuko check "
        + shlex.join([str(audit.root), *only]),
    )


def audit_labels(audit: Audit) -> tuple[ClassLabel, ...]:
    """Return the classes that an audit counts: also ``other``, where there is one."""
    classes = dataset_classes(audit.about)
    colours = BINARY_COLOURS if len(classes) == 2 else CLASS_COLOURS
    labels = class_labels(dict(classes=classes, palette=colours))
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


def render_check_report(check: CheckReport) -> str:
    """Return the page as the text of one HTML file, every text escaped."""
    legend = {label.name: label.colour for label in check.classes}
    return render(
        "check.html",
        {
            "title": f"{check.name}: dataset check",
            "script": "",
            "check": check,
            "signs": SIGNS,
            "thumbnails": [
                [
                    [_thumbnail(p, legend) for p in pictures]
                    for _, _, pictures in s.shown
                ]
                for s in check.sections
            ],
        },
    )


def _thumbnail(shown: FindingPicture, legend: Mapping[str, RGB]) -> dict:
    image = fitted(shown.image, THUMBNAIL_SIDE)
    if shown.labels is not None:
        labels = fitted(shown.labels, THUMBNAIL_SIDE)
        image = overlay(image, labels, alpha=0.12, outline=1, legend=legend)
    return dict(stem=shown.stem, **picture(image, quality=QUALITY))
