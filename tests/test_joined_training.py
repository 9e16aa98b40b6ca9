"""A training on joined datasets, and what its files say when one of them is tested."""

from __future__ import annotations

import json

import pytest
from tiny_run import write_config

from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.joined import digest_of_parts
from leuko_mm.datasets.prepared import cell_rows, read_about, read_split
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.metric import load_cells
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import (
    TestRequest,
    TrainRequest,
    identity_of,
    prepare_config,
    run_test,
    train,
)
from leuko_mm.training.sidecar import check_unseen, training_groups


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a home of two datasets, of which some stems and groups coincide."""
    home = tmp_path_factory.mktemp("data")
    for number, (name, licence) in enumerate((("one", "MIT"), ("two", "GPL-3.0")), 1):
        prepare_synthetic(home / name, slides=5, cells_per_class=number, size=64)
        path = home / name / "dataset.json"
        about = json.loads(path.read_text()) | dict(name=name, licence=licence)
        path.write_text(json.dumps(about))
    return home


@pytest.fixture(autouse=True)
def _data(home, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", str(home))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return str(write_config(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="module")
def run(home, config, tmp_path_factory):
    """Return the folder of a training on ``one``, tested on ``two``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(home))
        folder = str(tmp_path_factory.mktemp("runs") / "run")
        options = {"train_cfg.max_iters": 2, "train_dataloader.num_workers": 0}
        options["train_dataloader.persistent_workers"] = False
        for part in ("train", "test"):
            options[f"{part}_dataloader.dataset.red_cell_px"] = dict(one=12, two=16)
        asked = dict(data="one,two", split="without_two", protocol="labs")
        return train(TrainRequest(config, work_dir=folder, options=options, **asked))


def read(path) -> dict:
    return json.loads(path.read_text())


def test_results_and_sidecar_name_every_dataset(run, home, config):
    digests = [read_about(home / name)["sha256"] for name in ("one", "two")]
    # What is trained on and tested is that of ``without_two``.
    splits = [
        digest_of_parts({row.stem: part for row in cell_rows(home / name, other=True)})
        for name, part in (("one", "train"), ("two", "test"))
    ]
    each = [
        dict(name=name, sha256=data, split_sha256=split)
        for name, data, split in zip(("one", "two"), digests, splits, strict=True)
    ]
    data, sidecar = read(run / "results.json")["data"], read(run / "run.json")
    assert data["datasets"] == sidecar["training"]["datasets"] == each
    assert data["dataset"] == "one+two"
    assert data["sha256"] not in digests
    resolved = resolve_config(config, data="one,two", split="without_two")
    assert identity_of(resolved)["dataset_sha256"] == data["sha256"]
    assert data["train_groups"] == [f"one/slide_{i}" for i in range(1, 6)]
    assert data["test_groups"] == [f"two/slide_{i}" for i in range(1, 6)]
    assert sidecar["training"]["split"] == "without_two"
    # A red cell of 12 pixels in 64, where a cell fills a tile of 128.
    assert sidecar["scale"]["rbc_px"] == 24
    # Of what was trained on; the dataset that was left out does not count.
    assert sidecar["licence"] == "MIT"
    expected = [f"two/{row.stem}" for row in cell_rows(home / "two")]
    assert sorted(load_cells(run / "cells.npz").stem) == sorted(expected)


@pytest.mark.parametrize(
    ("data", "split", "words"),
    [
        ("one", "fold1", "5 of the 5 cells .* --data two --split all"),
        ("one,two", "without_one", "25 of the 25 cells .* add --split without_two"),
        ("one,two", "all", "25 of the 75 cells"),
    ],
)
def test_cells_of_a_joined_training_are_not_tested(run, config, data, split, words):
    asked = dict(checkpoint=str(run / "run.pth"), data=data, split=split)
    with pytest.raises(UsageError, match=words):
        run_test(TestRequest(config, **asked))


def test_the_dataset_that_was_left_out_is_tested(run, config):
    groups = [f"one/slide_{i}" for i in range(1, 6)]
    for data, split, trained in (
        ("two", "all", []),
        ("one,two", "without_two", groups),
    ):
        asked = dict(checkpoint=str(run / "run.pth"), data=data, split=split)
        tested = read(run_test(TestRequest(config, **asked)) / "results.json")
        assert tested["data"]["train_groups"] == trained
        assert sum(map(sum, tested["confusion"])) == 50 * 32 * 32


def test_a_fold_of_joined_datasets_leaves_the_fold_of_each_out(run, home, config):
    sidecar = read(run / "run.json")
    sidecar["training"]["split"] = "fold1"
    for one in sidecar["training"]["datasets"]:
        one["split_sha256"] = digest_of_parts(read_split(home / one["name"], "fold1"))
    for data in ("one", "two", "two,one"):
        check_unseen(resolve_config(config, data=data, split="fold1"), sidecar)
        with pytest.raises(UsageError, match="add --split fold1"):
            check_unseen(resolve_config(config, data=data, split="fold2"), sidecar)
    groups = [f"slide_{i}" for i in range(2, 6)]
    assert training_groups(home / "two", sidecar) == groups


@pytest.mark.parametrize(
    ("data", "tail"),
    [(None, ""), ("synthetic", ""), ("two", "-two"), ("one, two", "-one+two")],
)
def test_the_folder_of_a_run_names_its_data(config, data, tail):
    resolved = prepare_config(TrainRequest(config, data=data))
    assert resolved.work_dir == f"work_dirs/tiny-smoke-fold5-s0{tail}"
    joined = resolved.train_dataloader.dataset.dataset.get("names")
    assert joined == (["one", "two"] if "+" in tail else None)


def test_the_protocol_labs_leaves_out_the_laboratory_that_is_named():
    config = resolve_config("cbam_unet", protocol="labs", split="without_bccd")
    cells = config.test_dataloader.dataset.dataset
    assert (len(cells.names), cells.name, cells.split) == (5, None, "without_bccd")
    config = resolve_config("cbam_unet", protocol="labs", data="bccd", split="all")
    cells = config.test_dataloader.dataset.dataset
    assert cells == dict(part="test", name="bccd", split=None)
