"""The doctor names every planted fault together with the command that mends it."""

from __future__ import annotations

import re
import sys
from importlib import metadata

import pytest

from leuko_mm import stack
from leuko_mm.workflows import doctor, doctor_libraries
from leuko_mm.workflows.doctor_libraries import (
    LIBRARIES,
    check_device,
    check_libraries,
    check_opencv,
    check_python,
    check_stack,
    check_torchvision,
)
from leuko_mm.workflows.finding import FAULT, OK, WARN
from leuko_mm.workflows.import_probe import ImportedLibrary, probe_imports

SOUND = {
    "torch": "2.13.0+cpu",
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmsegmentation": "1.4.2",
    "opencv-python": "5.0.0.93",
}
TORCH_FACTS = dict(built_for_cuda=None, gpu=None, threads=1)


@pytest.fixture
def plant(monkeypatch):
    """Return a function that makes importlib.metadata see these distributions."""

    def _plant(**changes):
        seen = SOUND | {name.replace("_", "-"): v for name, v in changes.items()}

        def version(name):
            if seen.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return seen[name]

        monkeypatch.setattr(stack.metadata, "version", version)

    _plant()
    return _plant


def libraries(**changes):
    found = {name: ImportedLibrary(version="1.0") for name in LIBRARIES}
    found["torch"] = ImportedLibrary(version="2.13.0", facts=TORCH_FACTS)
    return found | {
        "torchvision": ImportedLibrary(absent=True, error="none"),
        **changes,
    }


def only(findings, state):
    """Return the one finding of a state."""
    (finding,) = [f for f in findings if f.state == state]
    return finding


def test_a_sound_stack_has_no_fault(plant):
    assert {f.state for f in check_stack()} == {OK}
    assert {f.state for f in check_libraries(libraries())} == {OK}


def test_planted_upstream_beside_onedl(plant):
    plant(mmcv="2.1.0")
    fault = only(check_stack(), FAULT)
    assert fault.name == "onedl-mmcv"
    assert "mmcv shares its folder with onedl-mmcv" in fault.detail
    assert fault.cure.startswith("python -m pip uninstall -y mmcv onedl-mmcv && ")


def test_planted_missing_trio(plant):
    plant(onedl_mmengine=None, onedl_mmcv=None, onedl_mmsegmentation=None)
    faults = [f for f in check_stack() if f.state == FAULT]
    assert [f.name for f in faults] == list(stack.TRIO)
    for fault in faults:
        assert fault.detail == f"{fault.name} is not installed"
        assert fault.cure.endswith(f'"{fault.name}{stack.TRIO[fault.name]}"')


@pytest.mark.parametrize("version", ["2.3.1", "2.14.0", "3.0.0+cu130"])
def test_planted_wrong_torch(plant, version):
    plant(torch=version)
    fault = only(check_stack(), FAULT)
    assert fault.name == "torch"
    assert version in fault.detail
    assert fault.cure == f'python -m pip install "{stack.TORCH}"'


def test_planted_missing_torch(plant):
    plant(torch=None)
    fault = only(check_stack(), FAULT)
    assert (fault.name, fault.detail) == ("torch", "torch is not installed")


def test_planted_old_python(monkeypatch):
    assert check_python().state == OK
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    fault = check_python()
    assert fault.state == FAULT
    assert "3.10 or newer" in fault.detail


def test_planted_library_that_is_there_and_cannot_load():
    broken = ImportedLibrary(error="ImportError: libGL.so.1: cannot open")
    fault = only(check_libraries(libraries(cv2=broken)), FAULT)
    assert "libGL.so.1" in fault.detail
    assert "--force-reinstall" in fault.cure
    assert "opencv-python" in fault.cure


def test_planted_missing_small_library():
    missing = ImportedLibrary(error="ModuleNotFoundError: x", absent=True)
    fault = only(check_libraries(libraries(matplotlib=missing)), FAULT)
    assert fault.cure == 'python -m pip install "matplotlib"'


def test_every_library_that_is_required_is_tried(project_root):
    required = {
        re.match(r"[\w.-]+", line)[0].lower()
        for name in ("base", "mminstall")
        for line in (project_root / "requirements" / f"{name}.txt").open()
        if re.match(r"\w", line)
    }
    # The doctor itself stands on packaging.
    assert required - {"packaging"} <= {name.lower() for name in LIBRARIES.values()}


def test_a_missing_member_of_the_trio_is_not_named_twice():
    missing = ImportedLibrary(error="ModuleNotFoundError: x", absent=True)
    assert {f.state for f in check_libraries(libraries(mmcv=missing))} == {OK}


def test_planted_two_opencvs(plant):
    assert check_opencv() == []
    plant(opencv_python_headless="4.12")
    warned = only(check_opencv(), WARN)
    assert "opencv-python and opencv-python-headless share one folder" in warned.detail
    assert warned.cure.startswith("python -m pip uninstall -y opencv-python ")


def test_planted_torchvision_that_cannot_load(tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fault = check_torchvision(probe_imports(["torchvision"]))
    assert fault.state == FAULT
    assert "operator torchvision::nms does not exist" in fault.detail
    assert fault.cure == "python -m pip uninstall -y torchvision"


def test_torchvision_may_be_absent_or_sound():
    assert check_torchvision(libraries()).state == OK
    sound = libraries(torchvision=ImportedLibrary(version="0.28"))
    assert check_torchvision(sound).detail == "0.28"


def test_planted_more_threads_than_cores(monkeypatch):
    torch = ImportedLibrary(facts=TORCH_FACTS | {"threads": 10_000})
    warned = only(check_device(torch), WARN)
    assert warned.name == "threads"
    assert warned.cure.startswith("export OMP_NUM_THREADS=")


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        ({}, WARN, "without CUDA"),
        ({"built_for_cuda": "12.8"}, WARN, "finds no usable card"),
        ({"built_for_cuda": "12.8", "gpu": "H200"}, OK, "H200, CUDA 12.8"),
    ],
)
def test_a_card_that_torch_cannot_use_is_named(monkeypatch, facts, state, words):
    monkeypatch.setattr(doctor_libraries.shutil, "which", lambda name: f"/bin/{name}")
    gpu = check_device(ImportedLibrary(facts=TORCH_FACTS | facts))[-1]
    assert (gpu.name, gpu.state) == ("gpu", state)
    assert words in gpu.detail
    assert bool(gpu.cure) == (state == WARN)


def test_a_machine_without_a_card_is_fine(monkeypatch):
    monkeypatch.setattr(doctor_libraries.shutil, "which", lambda name: None)
    assert check_device(libraries()["torch"])[-1].state == OK


def test_every_fault_of_the_libraries_has_a_cure(plant):
    plant(torch="1.0", mmcv="2", onedl_mmsegmentation=None, opencv_contrib_python="4")
    broken = {name: ImportedLibrary(error="ImportError: x") for name in LIBRARIES}
    findings = [
        *check_stack(),
        *check_libraries(broken),
        *check_opencv(),
        check_torchvision({"torchvision": ImportedLibrary(error="x")}),
    ]
    assert all(f.cure for f in findings if f.state != OK)
    assert sum(f.state == FAULT for f in findings) > 8


def test_where_libraries_do_not_fit_nothing_is_built_on_them(plant, monkeypatch):
    plant(mmengine="0.10.4")
    monkeypatch.setattr(doctor, "probe_imports", lambda names: libraries())
    name = "leuko_mm.workflows.doctor_surroundings"
    monkeypatch.setitem(sys.modules, name, None)  # importing it would raise
    findings = doctor.examine()
    assert findings[-1].state == WARN
    assert "mend the faults above" in findings[-1].detail


def test_a_broken_torchvision_does_not_hide_the_rest(plant, monkeypatch):
    broken = libraries(torchvision=ImportedLibrary(error="RuntimeError: nms"))
    monkeypatch.setattr(doctor, "probe_imports", lambda names: broken)
    names = [f.name for f in doctor.examine()]
    assert {"torchvision", "bfloat16", "cache", "work_dirs"} <= set(names)
