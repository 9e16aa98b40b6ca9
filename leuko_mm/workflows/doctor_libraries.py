"""The doctor's first half: interpreter, libraries and device.

Nothing here imports torch or MMSegmentation: their state is what is asked.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping

from packaging.requirements import Requirement

from leuko_mm.stack import TORCH, TRIO, cure, installed_version, stack_faults
from leuko_mm.workflows.finding import FAULT, OK, WARN, Finding
from leuko_mm.workflows.import_probe import ImportedLibrary

OLDEST_PYTHON = (3, 10)
# module -> distribution that brings it
LIBRARIES = {
    "numpy": "numpy",
    "cv2": "opencv-python",
    "PIL": "Pillow",
    "matplotlib": "matplotlib",
    "jinja2": "Jinja2",
    "markupsafe": "MarkupSafe",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "torch": "torch",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmseg": "onedl-mmsegmentation",
}
OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def check_python() -> Finding:
    """Compare the interpreter with the oldest that is supported."""
    version, place = platform.python_version(), sys.executable
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("python", OK, f"{version} ({place})")
    oldest = ".".join(map(str, OLDEST_PYTHON))
    detail = f"{version} ({place}); leuko_mm needs {oldest} or newer"
    return Finding("python", FAULT, detail, f"python{oldest} -m venv .venv")


def check_stack() -> list[Finding]:
    """Name missing, doubled and unfitting distributions of torch and the trio."""
    by_name = {Requirement(f.install[0]).name: f for f in stack_faults()}
    findings = []
    for name in ("torch", *TRIO):
        if name in by_name:
            fault = by_name[name]
            findings.append(Finding(name, FAULT, fault.what, cure([fault])))
        elif name == "torch":
            findings.append(_check_torch_version())
        else:
            findings.append(Finding(name, OK, installed_version(name)))
    return findings


def _check_torch_version() -> Finding:
    wanted = Requirement(TORCH)
    here = installed_version("torch")
    if wanted.specifier.contains(here, prereleases=True):
        return Finding("torch", OK, here)
    detail = f"torch is {here}, leuko_mm needs {wanted.specifier}"
    return Finding("torch", FAULT, detail, f'python -m pip install "{TORCH}"')


def check_libraries(libraries: Mapping[str, ImportedLibrary]) -> list[Finding]:
    """Name the libraries that are installed and still cannot be imported."""
    findings = []
    for module, distribution in LIBRARIES.items():
        library = libraries[module]
        if library.absent and distribution in ("torch", *TRIO):
            continue  # check_stack has said it
        if library.error:
            wanted = {"torch": TORCH}.get(distribution, distribution)
            wanted += TRIO.get(distribution, "")
            again = "" if library.absent else "--force-reinstall --no-deps "
            findings.append(
                Finding(
                    f"import {module}",
                    FAULT,
                    library.error,
                    f'python -m pip install {again}"{wanted}"',
                )
            )
        elif module in ("numpy", "cv2"):
            findings.append(Finding(module, OK, library.version))
    return findings


def check_opencv() -> list[Finding]:
    """Name OpenCV distributions that share one folder; one alone is no finding."""
    here = [name for name in OPENCV if installed_version(name)]
    if len(here) < 2:
        return []
    detail = f"{' and '.join(here)} share one folder, and the last one installed wins"
    command = (
        f"python -m pip uninstall -y {' '.join(here)} && "
        "python -m pip install opencv-python"
    )
    return [Finding("opencv", WARN, detail, command)]


def check_torchvision(libraries: Mapping[str, ImportedLibrary]) -> Finding:
    """Name a torchvision that was built for another torch.

    leuko_mm does not use it, but mmengine imports it at the start of every run if it
    is installed, and does not survive its failure.
    """
    library = libraries["torchvision"]
    if library.absent:
        return Finding("torchvision", OK, "not installed, not needed")
    if not library.error:
        return Finding("torchvision", OK, library.version)
    return Finding(
        "torchvision",
        FAULT,
        f"cannot load beside torch {installed_version('torch')}, and every training "
        f"would stop at it ({library.error})",
        "python -m pip uninstall -y torchvision",
    )


def check_device(torch: ImportedLibrary) -> list[Finding]:
    """Say what computes: processor, threads, graphics card."""
    facts, total = torch.facts, os.cpu_count() or 1
    usable = total
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    findings = [Finding("processor", OK, f"{usable} of {total} cores")]
    threads = f"{facts['threads']} in torch"
    if facts["threads"] > usable:
        detail = f"{threads} for {usable} usable cores: they wait for one another"
        wish = f"export OMP_NUM_THREADS={usable}"
        findings.append(Finding("threads", WARN, detail, wish))
    else:
        findings.append(Finding("threads", OK, threads))
    return [*findings, _check_gpu(facts)]


def _check_gpu(facts: Mapping) -> Finding:
    if facts["gpu"]:
        return Finding("gpu", OK, f"{facts['gpu']}, CUDA {facts['built_for_cuda']}")
    if shutil.which("nvidia-smi") is None:
        return Finding("gpu", OK, "none, the processor trains")
    if facts["built_for_cuda"] is None:
        detail = "there is an NVIDIA driver, but this torch was built without CUDA"
        command = f'python -m pip install --force-reinstall "{TORCH}"'
        return Finding("gpu", WARN, detail, command)
    detail = f"torch for CUDA {facts['built_for_cuda']} finds no usable card"
    return Finding("gpu", WARN, detail, "nvidia-smi")
