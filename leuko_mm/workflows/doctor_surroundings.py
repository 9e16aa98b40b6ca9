"""The doctor's second half: datasets, weights, folders and plug-ins.

It stands on libraries that the first half has found to load.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.prepared import DatasetError, data_home, read_about
from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.engine.encoder_weights import (
    KNOWN,
    WeightsError,
    fetching_command,
    find_weights,
)
from leuko_mm.registry import PLUGINS
from leuko_mm.workflows.finding import FAULT, OK, WARN, Finding

LEAST_FREE = 2**30  # a run writes its checkpoint, its state to resume, and pictures


def check_surroundings() -> list[Finding]:
    """Return the findings on everything that is not a library."""
    return [
        check_bfloat16(),
        *check_datasets(),
        *check_weights(),
        check_writable("work_dirs", Path("work_dirs"), "run leuko where you may write"),
        *check_plugins(),
    ]


def check_bfloat16() -> Finding:
    """Say in which precision a training computes unless told otherwise."""
    if bfloat16_helps():
        return Finding("bfloat16", OK, "fast here, training uses it")
    return Finding("bfloat16", OK, "slow here, training stays in float32")


def check_datasets() -> list[Finding]:
    """Count the cells of every prepared dataset, and name what is broken."""
    home = data_home()
    roots = sorted(path.parent for path in home.glob("*/dataset.json"))
    if not roots:
        return [
            Finding(
                "datasets",
                WARN,
                f"none in {home.absolute()}",
                "leuko prepare synthetic    (or: leuko prepare bcisc FOLDER; "
                "LEUKO_MM_DATA names another place)",
            )
        ]
    return [_check_dataset(root) for root in roots]


def _check_dataset(root: Path) -> Finding:
    name = f"dataset {root.name}"
    try:
        about = read_about(root)
        cells = sum(quick_check(root).values())
    except (DatasetError, ValueError, OSError) as error:
        # The first two lines say what is wrong with the first file.
        detail = " ".join(line.strip() for line in str(error).splitlines()[:2])
        return Finding(name, FAULT, detail, _prepare_again(root))
    groups = about.get("groups", "?")
    splits = len(list((root / "splits").glob("*.csv")))
    return Finding(name, OK, f"{cells} cells, {groups} groups, {splits} splits")


def _prepare_again(root: Path) -> str:
    source = "synthetic" if root.name == "synthetic" else f"{root.name} FOLDER"
    if root.name not in ("synthetic", "bcisc"):
        source = f"SOURCE FOLDER --out {root}"
    return f"leuko prepare {source} --force"


def check_weights() -> list[Finding]:
    """Look for the ImageNet weights of every encoder that configs name."""
    findings = []
    for checkpoint in KNOWN:
        name = f"weights {checkpoint}"
        try:
            place = find_weights(checkpoint, download=False)
            findings.append(Finding(name, OK, str(place)))
        except WeightsError:
            words = "not found; a training that wants them fetches them first"
            findings.append(Finding(name, WARN, words, fetching_command(checkpoint)))
    return findings


def check_writable(name: str, folder: Path, cure: str) -> Finding:
    """Write a file into a folder, or into the nearest one that exists above it.

    Args:
        name: of the finding.
        folder: need not exist; it is not made.
        cure: what to do where it cannot be written.
    """
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        reason = error.strerror or str(error)
        detail = f"{folder} cannot be written ({nearest}: {reason})"
        return Finding(name, FAULT, detail, cure)
    detail = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < LEAST_FREE:
        return Finding(name, WARN, detail, f"du -xh {nearest} | sort -h | tail")
    return Finding(name, OK, detail)


def check_plugins() -> list[Finding]:
    """Load the plug-ins; name those that fail, and count what the others bring."""
    PLUGINS.load()
    findings = []
    for plugin in PLUGINS.plugins:
        name = f"plug-in {plugin.name}"
        if plugin.error:
            detail = f"{plugin.title} is left out: {plugin.error}"
            findings.append(Finding(name, FAULT, detail, plugin.removal))
        else:
            parts = ", ".join(part for _, part in plugin.parts) or "no part"
            findings.append(Finding(name, OK, f"{plugin.title}: {parts}"))
    return findings or [Finding("plug-ins", OK, "none installed")]
