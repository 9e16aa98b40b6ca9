"""Check that the libraries underneath fit together, before they are imported.

``mmengine``, ``mmcv`` and ``mmseg`` come from the ``onedl-*`` distributions, which
install into the same folders as the upstream ones. A missing or doubled one is named
here with the command that fixes it, before it causes an ImportError.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import metadata

from packaging.specifiers import SpecifierSet

from leuko_mm.errors import LeukoError

TORCH = "torch>=2.10,<2.14"
TRIO = {
    "onedl-mmengine": ">=0.10.12,<0.11",
    "onedl-mmcv": ">=2.3.6,<2.4",
    "onedl-mmsegmentation": ">=1.4.2,<1.5",
}
UPSTREAM = {
    "onedl-mmengine": ("mmengine", "mmengine-lite"),
    "onedl-mmcv": ("mmcv", "mmcv-lite", "mmcv-full"),
    "onedl-mmsegmentation": ("mmsegmentation",),
}


class StackError(LeukoError, ImportError):
    """The installed libraries do not fit; the message has the command that fixes it."""


@dataclass(frozen=True)
class StackFault:
    """One thing that does not fit, and what to remove and to install against it.

    Args:
        what: the fault, as a clause for a list.
        install: requirements to install.
        remove: distributions to uninstall first.
    """

    what: str
    install: tuple[str, ...]
    remove: tuple[str, ...] = ()


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _trio_fault(ours: str, wanted: str) -> StackFault | None:
    here = installed_version(ours)
    doubled = tuple(name for name in UPSTREAM[ours] if installed_version(name))
    if doubled:
        # Uninstalling one of two owners takes files of the other with it, so both
        # go, and ours comes back whole.
        remove = doubled if here is None else (*doubled, ours)
        return StackFault(
            f"{' and '.join(doubled)} shares its folder with {ours}, "
            "which leuko_mm needs in its place",
            (ours + wanted,),
            remove,
        )
    if here is None:
        return StackFault(f"{ours} is not installed", (ours + wanted,))
    if not SpecifierSet(wanted).contains(here, prereleases=True):
        return StackFault(
            f"{ours} is {here}, leuko_mm needs {wanted}", (ours + wanted,)
        )
    return None


def stack_faults() -> list[StackFault]:
    """Return everything that does not fit among the installed libraries."""
    faults = [_trio_fault(ours, wanted) for ours, wanted in TRIO.items()]
    if installed_version("torch") is None:
        faults.insert(0, StackFault("torch is not installed", (TORCH,)))
    return [fault for fault in faults if fault]


def cure(faults: list[StackFault]) -> str:
    """Return the one shell command that fixes all the faults."""
    remove = [name for fault in faults for name in fault.remove]
    install = " ".join(f'"{name}"' for fault in faults for name in fault.install)
    command = f"python -m pip install {install}"
    if remove:
        command = f"python -m pip uninstall -y {' '.join(remove)} && {command}"
    return command


def toolkit_requirement() -> str:
    """Return what ``pip install`` is given for the toolkit: the extra ``train``."""
    try:
        # Of an installation from a clone or a wheel: where that is.
        origin = metadata.distribution("leuko-mm").read_text("direct_url.json")
        return f"leuko-mm[train] @ {json.loads(origin or '')['url']}"
    except (metadata.PackageNotFoundError, ValueError, KeyError):
        return "leuko-mm[train]"


def toolkit_is_missing() -> bool:
    """Whether this is the small installation, which only counts cells."""
    return not any(installed_version(name) for name in ("torch", *TRIO))


def require_stack() -> None:
    """Stop with every fault of the installed libraries and the command against them.

    Raises:
        StackError: if torch is missing, or one of the three OpenMMLab libraries is
            missing, doubled or of a version that does not fit.
    """
    if toolkit_is_missing():
        raise StackError(
            "this needs PyTorch and MMSegmentation, which are not installed: "
            f'python -m pip install "{toolkit_requirement()}"'
        )
    faults = stack_faults()
    if faults:
        listed = "\n".join(f"  - {fault.what}" for fault in faults)
        raise StackError(
            f"leuko_mm cannot start, its libraries do not fit:\n{listed}\n"
            f"fix it with:\n  {cure(faults)}"
        )
    # mmcv warns on every import that its compiled operators are absent; no part
    # of leuko_mm uses them.
    warnings.filterwarnings(
        "ignore", message="Fail to import ``MultiScaleDeformableAttention``"
    )
    # mmseg prints twice that an optional reader of datasets is absent, at the top of
    # output that programs read.
    with redirect_stdout(io.StringIO()) as printed:
        importlib.import_module("mmseg.datasets")
    for line in printed.getvalue().splitlines():
        if "Could not import OneDL" not in line:
            print(line)
