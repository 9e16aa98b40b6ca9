"""Where prepared datasets are, and the command that prepares one that is not there."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from leuko_mm.nearest import did_you_mean

# Datasets whose source has a converter of its own, and how it is called.
_SOURCES = {
    "bcisc": "bcisc PATH_TO_BCISC",
    "segmentation_wbc": "segmentation_wbc PATH_TO_SEGMENTATION_WBC",
    "segmentation_wbc_1": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 1",
    "segmentation_wbc_2": "segmentation_wbc PATH_TO_SEGMENTATION_WBC --set 2",
    "lisc": "lisc PATH_TO_LISC",
    "synthetic": "synthetic",
}


def data_home() -> Path:
    """Return the folder of prepared datasets: ``$LEUKO_MM_DATA`` or ``data``."""
    return Path(os.environ.get("LEUKO_MM_DATA") or "data")


def prepare_command(root: Path) -> str:
    """Return the command that prepares the dataset of a folder.

    Example:
        >>> prepare_command(data_home() / "bcisc")
        'leuko prepare bcisc PATH_TO_BCISC'
        >>> prepare_command(Path("elsewhere/synthetic"))
        'leuko prepare synthetic --out elsewhere/synthetic'
        >>> prepare_command(data_home() / "smears")
        'leuko prepare folders PATH_TO_YOUR_FOLDER --name smears'
    """
    root = Path(root)
    usual = (data_home() / root.name).absolute() == root.absolute()
    source = _SOURCES.get(root.name, "folders PATH_TO_YOUR_FOLDER")
    if not usual:
        place = f" --out {shlex.quote(str(root))}"
    else:
        place = "" if root.name in _SOURCES else f" --name {shlex.quote(root.name)}"
    return f"leuko prepare {source}{place}"


def how_to_mend(root: Path) -> str:
    """Return what to do about a damaged dataset, with the command."""
    return f"prepare the dataset again:\n    {prepare_command(root)} --force"


def not_prepared(root: Path) -> str:
    """Return what is to be said of a folder that is no prepared dataset.

    A name that is near one that is there, or could be, is taken for a slip.
    """
    state = "is not a prepared dataset" if root.is_dir() else "does not exist"
    where = "" if root.is_absolute() else f" (looked in {Path.cwd()})"
    there = {path.parent.name for path in root.parent.glob("*/dataset.json")}
    known = sorted(there | set(_SOURCES)) if root.name not in _SOURCES else ()
    return (
        f"{root} {state}{did_you_mean(root.name, known)}{where}. Prepare it with:\n"
        f"    {prepare_command(root)}\n"
        "or set LEUKO_MM_DATA to the folder that holds your prepared datasets"
    )
