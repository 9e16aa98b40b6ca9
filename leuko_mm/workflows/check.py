"""Check a dataset and write what was found: as a table's data, JSON, and a page."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import leuko_mm
from leuko_mm.datasets.audit import Audit, full_audit
from leuko_mm.datasets.audit_finding import by_rule, tally
from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder, write_text
from leuko_mm.report.check_report import render_check_report
from leuko_mm.workflows.check_page import check_page
from leuko_mm.workflows.preflight import draw_synthetic

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
