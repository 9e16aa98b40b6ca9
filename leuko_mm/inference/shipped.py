"""The checkpoints that travel with the package."""

from __future__ import annotations

from pathlib import Path

import leuko_mm
from leuko_mm.errors import LeukoError

DEFAULT_MODEL = "cbam_unet_compact"
RECIPES = (DEFAULT_MODEL, "quickstart")


class NotShippedError(LeukoError, ValueError):
    """The package carries no such checkpoint; the message says how to make one."""


def shipped_folder() -> Path:
    """Return the folder of the package in which its checkpoints lie."""
    return Path(leuko_mm.__file__).parent / "zoo"


def shipped_names() -> list[str]:
    """Return the names of the checkpoints that the package carries."""
    return sorted(
        path.stem
        for path in shipped_folder().glob("*.pth")
        if path.with_suffix(".json").is_file()
    )


def shipped_checkpoint(name: str = DEFAULT_MODEL) -> Path:
    """Return the file of a checkpoint of the package; its sidecar lies beside it.

    Args:
        name: of the checkpoint, as ``leuko zoo list`` prints it.

    Raises:
        NotShippedError: if the package has none of that name; the message names the
            command that trains it.
    """
    path = shipped_folder() / f"{name}.pth"
    if path.is_file() and path.with_suffix(".json").is_file():
        return path
    there = ", ".join(shipped_names()) or "none yet"
    raise NotShippedError(
        f"this package carries no checkpoint {name!r} (it carries: {there}). If it is "
        f"one of `leuko zoo list`, train it,\n    {training_command(name)}\n"
        "and give that file as the checkpoint"
    )


def training_command(method: str) -> str:
    """Return the command that trains a method as its published checkpoint is.

    Example:
        >>> training_command("cbam_unet")
        'leuko train cbam_unet --protocol half --split fold5'
    """
    # These files are recipes of their own, data and schedule included.
    protocol = "" if method in RECIPES else " --protocol half"
    return f"leuko train {method}{protocol} --split fold5"
