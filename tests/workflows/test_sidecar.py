"""A checkpoint is used for what it was made for, or not at all."""

import json

import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.workflows.resolve_config import UsageError, resolve_config
from leuko_mm.workflows.sidecar import (
    check_sidecar,
    check_unseen,
    learnt_groups,
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
    check_unseen(config, {})


def test_a_damaged_sidecar_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"a\.json is damaged"):
        read_sidecar(tmp_path / "a.pth", "0")


def test_a_file_that_changed_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(dict(sha256="a" * 64)))
    assert read_sidecar(tmp_path / "a.pth", "a" * 64)["sha256"] == "a" * 64
    with pytest.raises(UsageError, match=r"a\.pth is not the file that a\.json"):
        read_sidecar(tmp_path / "a.pth", "b" * 64)


def trained_on(split, home):
    sha256 = read_about(home / "synthetic")["sha256"]
    return dict(training=dict(split=split, sha256=sha256))


def test_cells_that_were_learnt_are_not_tested(tiny_data, tiny_config):
    def check(tested, learnt="fold5"):
        config = resolve_config(str(tiny_config), split=tested)
        check_unseen(config, trained_on(learnt, tiny_data))

    check("fold5")
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold5"):
        check("fold4")
    with pytest.raises(UsageError, match=r"20 of the 25 cells"):
        check("all")


def test_learnt_cells_are_tested_where_they_are_asked_for(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="fold5")
    config.test_dataloader.dataset.dataset.part = "train"
    check_unseen(config, trained_on("fold5", tiny_data))


def test_another_dataset_holds_no_learnt_cells(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="all")
    check_unseen(config, dict(training=dict(split="fold5", sha256="0" * 64)))


def test_the_groups_learnt_are_those_of_the_sidecar_not_of_the_config(
    tiny_data, tiny_config
):
    config = resolve_config(str(tiny_config), split="fold2")
    root = tiny_data / "synthetic"
    sha256 = read_about(root)["sha256"]
    sidecar = as_read(sidecar_of(config, results_of(sha256=sha256), METAINFO))
    parts = read_split(root, "fold5")
    groups = {row.stem: row.group for row in read_index(root)}
    expected = {groups[stem] for stem, part in parts.items() if part == "train"}
    assert learnt_groups(config, sidecar) == sorted(expected)
    assert learnt_groups(config, {}) is None
    sidecar["training"]["sha256"] = "0" * 64
    assert learnt_groups(config, sidecar) is None
