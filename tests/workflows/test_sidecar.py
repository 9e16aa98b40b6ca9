"""A checkpoint is used for what it was made for, or not at all."""

import json

import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.errors import UsageError
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.sidecar import (
    check_sidecar,
    read_sidecar,
    sidecar_of,
)

METAINFO = dict(classes=CLASS_NAMES, palette=[[i, i, i] for i in range(6)])


@pytest.fixture
def config(tiny_config):
    return resolve_config(str(tiny_config))


def results_of(enhance=None, sha256="0" * 64):
    return dict(
        data=dict(
            dataset="synthetic",
            sha256=sha256,
            size=64,
            mosaic=dict(n=2, mode="resample"),
            enhance=enhance,
        ),
        run=dict(split="fold5", seed=3, iterations=2, git=None),
        metrics=dict(mIoU=50.0),
    )


def as_read(sidecar):
    return json.loads(json.dumps(sidecar))


def test_what_is_written_fits_what_it_was_written_for(config):
    config.train_dataloader.dataset.enhance = dict(type="X", windows=(4, 4))
    sidecar = sidecar_of(config, results_of(dict(type="X", windows=(4, 4))), METAINFO)
    check_sidecar("a.pth", as_read(sidecar), config, METAINFO)


def test_classes_and_colours_are_those_of_the_dataset(config):
    two = dict(classes=("background", "leukocyte"), palette=[[0, 0, 0], [9, 9, 9]])
    sidecar = sidecar_of(config, results_of(), two)
    assert sidecar["classes"] == sidecar["config"]["classes"] == list(two["classes"])
    assert sidecar["colours"] == two["palette"]
    with pytest.raises(UsageError, match="trained with classes"):
        check_sidecar("a.pth", as_read(sidecar), config, METAINFO)


def test_the_size_of_a_cell_is_that_of_its_tile(config):
    assert sidecar_of(config, results_of(), METAINFO)["scale"]["cell_px"] == 32


def test_another_enhancement_is_refused(config):
    sidecar = as_read(sidecar_of(config, results_of(), METAINFO))
    config.train_dataloader.dataset.enhance = dict(type="leuko_mm.AHERetinex")
    with pytest.raises(UsageError, match=r"enhance None.*config it was trained with"):
        check_sidecar("a.pth", sidecar, config, METAINFO)


def test_another_normalisation_is_refused(config):
    sidecar = as_read(sidecar_of(config, results_of(), METAINFO))
    config.model.data_preprocessor.mean = [0, 0, 0]
    with pytest.raises(UsageError, match="trained with normalisation"):
        check_sidecar("a.pth", sidecar, config, METAINFO)


def test_no_sidecar_passes(config, tmp_path):
    assert read_sidecar(tmp_path / "a.pth", "0") == {}
    check_sidecar("a.pth", {}, config, METAINFO)


def test_a_damaged_sidecar_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"a\.json is damaged"):
        read_sidecar(tmp_path / "a.pth", "0")


def test_a_file_that_changed_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(dict(sha256="a" * 64)))
    assert read_sidecar(tmp_path / "a.pth", "a" * 64)["sha256"] == "a" * 64
    with pytest.raises(UsageError, match=r"a\.pth is not the file that a\.json"):
        read_sidecar(tmp_path / "a.pth", "b" * 64)
