"""Check the environment, and name the command that fixes each fault."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from leuko_mm.stack import (
    TORCH,
    TRIO,
    cure,
    installed_version,
    stack_faults,
    toolkit_is_missing,
    toolkit_requirement,
)

OK, WARN, FAULT = "ok", "warn", "fault"
OLDEST_PYTHON = (3, 10)
# module -> distribution that brings it: those of the small installation, then those
# of the toolkit
SMALL = {
    "numpy": "numpy",
    "cv2": "opencv-python",
    "PIL": "Pillow",
    "onnxruntime": "onnxruntime",
    "jinja2": "Jinja2",
    "markupsafe": "MarkupSafe",
    "rich": "rich",
    "yaml": "PyYAML",
}
LIBRARIES = {
    **SMALL,
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmseg": "onedl-mmsegmentation",
}
# These install into one folder.
OPENCV = [f"opencv{a}-python{b}" for a in ("", "-contrib") for b in ("", "-headless")]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Args:
        name: what was looked at.
        state: ``ok``, ``warn`` (everything works, but take note) or ``fault``.
        detail: what it is.
        cure: the command that fixes it; empty where nothing is to be fixed.
    """

    name: str
    state: str
    detail: str
    cure: str = ""


def examine() -> list[Check]:
    """Check interpreter, libraries and device, then data, weights and plug-ins."""
    if toolkit_is_missing():
        found = import_libraries(SMALL)
        checks = [check_python(), *check_libraries(found), *check_opencv()]
        detail = "not installed: `leuko predict` works, training needs it"
        command = f'python -m pip install "{toolkit_requirement()}"'
        return [*checks, Check("toolkit", WARN, detail, command)]
    found = import_libraries(LIBRARIES)
    checks = [check_python(), *check_stack(), *check_libraries(found), *check_opencv()]
    if not found["torch"]["error"]:
        checks += check_device(torch_facts())
    if any(c.state == FAULT and c.name != "torchvision" for c in checks):
        detail = "not looked at: fix the faults above and run it again"
        return [*checks, Check("data, weights, plug-ins", WARN, detail)]
    return [*checks, *check_datasets(), *check_weights(), *check_plugins()]


def import_libraries(libraries: Iterable[str]) -> dict[str, dict]:
    """Import libraries; return of each the error, if any, and whether it is absent."""
    found = {}
    for name in (*libraries, "torchvision"):
        error, absent = "", False
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as fault:  # libraries raise anything
            lines = str(fault).strip().splitlines() or [""]
            error = f"{type(fault).__name__}: {lines[0]}"
            absent = getattr(fault, "name", None) == name
        found[name] = dict(error=error, absent=absent)
    return found


def torch_facts() -> dict:
    """Return what torch uses of this machine."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return dict(gpu=gpu, cuda=torch.version.cuda, threads=torch.get_num_threads())


def check_python() -> Check:
    """Compare the interpreter with the oldest that is supported."""
    here = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("python", OK, here)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    detail = f"{here}; leuko_mm needs {oldest} or newer"
    return Check("python", FAULT, detail, f"python{oldest} -m venv .venv")


def check_stack() -> list[Check]:
    """Name missing, doubled and unfitting distributions of torch and OpenMMLab."""
    faults = {Requirement(f.install[0]).name: f for f in stack_faults()}
    checks = []
    for name in ("torch", *TRIO):
        here = installed_version(name)
        if name in faults:
            checks.append(Check(name, FAULT, faults[name].what, cure([faults[name]])))
        elif name != "torch" or Requirement(TORCH).specifier.contains(here, True):
            checks.append(Check(name, OK, here))
        else:
            command = f'python -m pip install "{TORCH}"'
            detail = f"torch is {here}, leuko_mm needs {Requirement(TORCH).specifier}"
            checks.append(Check(name, FAULT, detail, command))
    return checks


def check_libraries(found: Mapping[str, Mapping]) -> list[Check]:
    """Name the libraries that are missing or cannot be imported."""
    checks = []
    for module, distribution in LIBRARIES.items():
        if module not in found:
            continue
        error, absent = found[module]["error"], found[module]["absent"]
        in_stack = distribution in ("torch", *TRIO)
        if error and not (absent and in_stack):  # check_stack names those
            wanted = TORCH if module == "torch" else distribution
            wanted += TRIO.get(distribution, "")
            again = "" if absent else "--force-reinstall --no-deps "
            command = f'python -m pip install {again}"{wanted}"'
            checks.append(Check(f"import {module}", FAULT, error, command))
        elif not in_stack:
            version = installed_version(distribution) or "found"
            checks.append(Check(distribution, OK, version))
    # mmengine imports torchvision where it is installed, and does not survive a fault.
    error, absent = found["torchvision"]["error"], found["torchvision"]["absent"]
    if error and not absent:
        command = "python -m pip uninstall -y torchvision"
        detail = f"not needed, but would stop every training ({error})"
        checks.append(Check("torchvision", FAULT, detail, command))
    return checks


def check_opencv() -> list[Check]:
    """Name OpenCV distributions that share one folder; one alone is right."""
    here = [name for name in OPENCV if installed_version(name)]
    if len(here) < 2:
        return []
    detail = f"{' and '.join(here)} share one folder, and the last one installed wins"
    remove = f"python -m pip uninstall -y {' '.join(here)}"
    install = "python -m pip install opencv-python"
    return [Check("opencv", WARN, detail, f"{remove} && {install}")]


def check_device(torch: Mapping) -> list[Check]:
    """Compare what torch uses with the processor and the graphics card."""
    usable = total = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    detail = f"{usable} of {total} cores, {torch['threads']} used by torch"
    processor = Check("processor", OK, detail)
    if torch["threads"] > usable:
        command = f"export OMP_NUM_THREADS={usable}"
        processor = Check("processor", WARN, f"{detail}: too many", command)
    if torch["gpu"]:
        gpu = Check("gpu", OK, f"{torch['gpu']}, CUDA {torch['cuda']}")
    elif shutil.which("nvidia-smi") is None:
        gpu = Check("gpu", OK, "none, the processor trains")
    elif torch["cuda"]:
        detail = f"torch for CUDA {torch['cuda']} finds no usable card"
        gpu = Check("gpu", WARN, detail, "nvidia-smi")
    else:
        command = f'python -m pip install --force-reinstall "{TORCH}"'
        detail = "there is an NVIDIA driver, but this torch was built without CUDA"
        gpu = Check("gpu", WARN, detail, command)
    return [processor, gpu]


def check_datasets() -> list[Check]:
    """Count the cells of every prepared dataset, and name what is broken."""
    from leuko_mm.datasets.prepared import data_home

    home = data_home()
    roots = sorted(path.parent for path in home.glob("*/dataset.json"))
    if roots:
        return [_check_dataset(root) for root in roots]
    detail = f"none in {home.absolute()} (LEUKO_MM_DATA names another place)"
    command = "leuko prepare synthetic    (or: leuko prepare bcisc FOLDER)"
    return [Check("datasets", WARN, detail, command)]


def _check_dataset(root: Path) -> Check:
    from leuko_mm.datasets.audit import quick_check
    from leuko_mm.datasets.prepared import prepare_command, read_about

    name = f"dataset {root.name}"
    try:
        groups = read_about(root).get("groups", "?")
        cells = sum(quick_check(root).values())
    except (ValueError, OSError) as error:
        # The first two lines say what is wrong with the first file.
        detail = " ".join(line.strip() for line in str(error).splitlines()[:2])
        return Check(name, FAULT, detail, f"{prepare_command(root)} --force")
    splits = len(list((root / "splits").glob("*.csv")))
    return Check(name, OK, f"{cells} cells, {groups} groups, {splits} splits")


def check_weights() -> list[Check]:
    """Look for the ImageNet weights of every encoder that configs name."""
    from leuko_mm.engine import encoder_weights as weights

    checks = []
    for encoder in weights.KNOWN:
        name = f"weights {encoder}"
        try:
            place = weights.find_weights(encoder, download=False)
            checks.append(Check(name, OK, str(place)))
        except weights.WeightsError:
            detail = "not found; a training that needs them fetches them first"
            command = weights.fetching_command(encoder)
            checks.append(Check(name, WARN, detail, command))
    return checks


def check_plugins() -> list[Check]:
    """Load the plug-ins; name those that fail, and the parts of the others."""
    from leuko_mm.registry import PLUGINS

    PLUGINS.load()
    checks = []
    for plugin in PLUGINS.plugins:
        name, parts = f"plug-in {plugin.name}", ", ".join(p for _, p in plugin.parts)
        if plugin.error:
            detail = f"{plugin.title} is left out: {plugin.error}"
            checks.append(Check(name, FAULT, detail, plugin.removal))
        else:
            checks.append(Check(name, OK, f"{plugin.title}: {parts or 'no part'}"))
    return checks or [Check("plug-ins", OK, "none installed")]
