"""The red cells of a training part, at the size that the network sees them in.

What a checkpoint has learnt from, whatever it started from.

A checkpoint is used for what it was made for, or not at all.

Fine-tuning: a training that starts from a trained model.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from drawn_red_cells import drawn
from tiny_checkpoint import rewrite, write_tiny
from tiny_run import leuko, write_config

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.staged_freeze import is_pretrained
from leuko_mm.errors import UsageError
from leuko_mm.inference.model import CheckpointError
from leuko_mm.models.size import build_bare, named_weights
from leuko_mm.training.building import build_runner
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import TrainRequest, prepare_config, train
from leuko_mm.training.sidecar import (
    _spread,
    check_sidecar,
    check_start,
    check_unseen,
    learnt_cells,
    learnt_groups,
    read_sidecar,
    sidecar_of,
    trained_red_cell,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a dataset: red cells of 24 px in the training part, 40 px in the other."""
    root = tmp_path_factory.mktemp("data") / "drawn"
    cells, split = [], {}
    for number, diameter in enumerate([24, 24, 24, 40]):
        image = drawn(diameter, seed=number)[:168, :168]
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[60:90, 60:90] = 5
        stem = f"neut_{number}-1_0"
        split[stem] = "test" if diameter == 40 else "train"
        group = f"slide_{number}"
        cells.append(
            PreparedCell(
                stem=stem,
                class_name="neutrophil",
                group=group,
                image=image,
                mask=mask,
            )
        )
    write_prepared(
        root,
        cells,
        name="drawn",
        source="a test",
        licence="CC0-1.0",
        citation="none",
        splits={"fold1": split},
        force=False,
    )
    return root


def test_the_training_part_is_measured_at_the_size_of_its_tiles(prepared):
    assert trained_red_cell(prepared, "fold1", cell_px=84) == pytest.approx(
        12, rel=0.06
    )
    assert trained_red_cell(prepared, "fold1", cell_px=None) == pytest.approx(
        24, rel=0.06
    )


def test_a_few_red_cells_tell_nothing(tiny_dataset):
    assert trained_red_cell(tiny_dataset, None, cell_px=64) is None


def test_many_images_are_looked_at_evenly():
    rows = list(range(1000))
    picked = _spread(rows)
    assert (picked[0], picked[-1], len(picked)) == (0, 999, 30)
    assert max(np.diff(picked)) <= 35
    assert _spread(rows[:30]) == rows[:30]


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


def test_no_sidecar_knows_no_cells(tiny_data, tiny_config):
    config = resolve_config(str(tiny_config), split="all")
    check_unseen(config, {})
    assert learnt_groups(config, {}) is None


def test_the_groups_learnt_are_those_of_the_sidecar_not_of_the_config(
    tiny_data, tiny_config
):
    config = resolve_config(str(tiny_config), split="fold2")
    root = tiny_data / "synthetic"
    parts = read_split(root, "fold5")
    groups = {row.stem: row.group for row in read_index(root)}
    expected = {groups[stem] for stem, part in parts.items() if part == "train"}
    sidecar = trained_on("fold5", tiny_data)
    assert learnt_groups(config, sidecar) == sorted(expected)
    sidecar["training"]["sha256"] = "0" * 64
    assert learnt_groups(config, sidecar) is None


def test_what_its_start_had_learnt_is_learnt(tiny_data, tiny_config):
    start = trained_on("fold1", tiny_data)
    elsewhere = dict(split="fold5", sha256="0" * 64, start=start)
    tuned = dict(training=elsewhere)
    root = tiny_data / "synthetic"
    assert learnt_cells(root, tuned) == learnt_cells(root, start) != set()
    check_unseen(resolve_config(str(tiny_config), split="fold1"), tuned)
    with pytest.raises(UsageError, match=r"5 of the 5 cells.*--split fold1"):
        check_unseen(resolve_config(str(tiny_config), split="fold2"), tuned)
    # Learnt from both parts of a division: no cell of it is new.
    twice = trained_on("fold2", tiny_data)
    twice["training"]["start"] = start
    with pytest.raises(UsageError, match="5 of the 5"):
        check_unseen(resolve_config(str(tiny_config), split="fold2"), twice)


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


IMAGENET = dict(type="leuko_mm.EncoderWeights", checkpoint="vgg16")


@pytest.fixture
def start(tmp_path, tiny_config):
    """Return a checkpoint of the tiny network, of other data than the run's."""
    path = tmp_path / "start.pth"
    write_tiny(path, tiny_config)
    return path


def prepared_start_from(config, start, **wishes):
    return prepare_config(TrainRequest(str(config), load_from=str(start), **wishes))


def test_every_weight_is_that_of_the_model(tmp_path, tiny_data, tiny_config, start):
    config = prepared_start_from(tiny_config, start, work_dir=str(tmp_path / "run"))
    runner = build_runner(config)
    runner._init_model_weights()
    there = load_tensors(start)
    here = runner.model.state_dict()
    assert there.keys() == here.keys()
    assert all(torch.equal(here[key], there[key]) for key in there)
    plain = build_runner(
        prepare_config(TrainRequest(str(tiny_config), work_dir=str(tmp_path / "run")))
    )
    plain._init_model_weights()
    key = "decode_head.conv_seg.weight"
    assert not torch.equal(plain.model.state_dict()[key], there[key])


def test_imagenets_weights_are_neither_needed_nor_loaded(tiny_data, tiny_config, start):
    text = tiny_config.read_text().replace("init_cfg=None", f"init_cfg={IMAGENET!r}")
    tiny_config.write_text(text)
    config = prepared_start_from(tiny_config, start)
    assert "init_cfg" not in config.model.backbone
    # All the same the encoder is one that waits for nobody to spoil it.
    assert is_pretrained(build_bare(config), "backbone")
    assert named_weights(config) == "start.pth"


def test_a_finished_run_tells_what_it_started_from(
    tmp_path, tiny_data, tiny_config, start
):
    given = json.loads(start.with_suffix(".json").read_text())
    work_dir = tmp_path / "tuned"
    train(TrainRequest(str(tiny_config), load_from=str(start), work_dir=str(work_dir)))
    results = json.loads((work_dir / "results.json").read_text())
    assert results["model"]["pretrained"] == "start.pth"
    sidecar = json.loads((work_dir / "tuned.json").read_text())
    told = {key: given[key] for key in ("method", "sha256", "training")}
    assert sidecar["training"]["start"] == told
    # A start is no state to go on from: the iterations are counted from 0.
    assert results["run"]["iterations"] == 2


def test_a_model_that_knows_tested_cells_is_refused(
    tmp_path, tiny_data, tiny_config, start
):
    digest = read_about(tiny_data / "synthetic")["sha256"]
    learnt = dict(dataset="synthetic", sha256=digest, split="fold1")
    rewrite(start, training=learnt)
    check_start(prepared_start_from(tiny_config, start, split="fold1"))
    with pytest.raises(UsageError, match=r"--load-from: .*start\.pth: 5 of the 5"):
        check_start(prepared_start_from(tiny_config, start))
    wish = dict(load_from=str(start), work_dir=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="--split fold1"):
        train(TrainRequest(str(tiny_config), **wish))
    assert not (tmp_path / "run").exists()


def test_another_network_is_refused_by_its_tensors(tmp_path, tiny_data, start):
    wider = write_config(tmp_path, name="wider")
    wider.write_text(wider.read_text().replace("[32, 16, 16, 8]", "[32, 16, 16, 12]"))
    shapes = r"decode_head\.\S+ is \[8.*\] there and \[12.*\] here"
    with pytest.raises(UsageError, match=f"another network than tiny.*{shapes}"):
        prepared_start_from(wider, start)


def test_other_classes_are_refused(tiny_data, tiny_config, start):
    two = {"model.decode_head.num_classes": 2}
    with pytest.raises(UsageError, match="or of other classes"):
        prepared_start_from(tiny_config, start, options=two)


def test_a_file_without_its_sidecar_is_refused(tiny_data, tiny_config, start):
    start.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="has no sidecar"):
        prepared_start_from(tiny_config, start)
    with pytest.raises(UsageError, match="does not exist"):
        prepared_start_from(tiny_config, start.with_name("none.pth"))
    with pytest.raises(ValueError, match="cbam_unet_compac"):
        prepared_start_from(tiny_config, "cbam_unet_compac")


def test_the_model_of_the_package_is_a_start_by_its_name(tiny_data):
    config = prepared_start_from(
        "cbam_unet_compact", "cbam_unet_compact", data="synthetic"
    )
    assert named_weights(config) == "cbam_unet_compact.pth"


@pytest.mark.slow
def test_a_start_that_is_gone_is_said_before_anything_is_made(
    tmp_path, tiny_data, tiny_config, start
):
    words = ["train", tiny_config, "--load-from", start, "--work-dir", "run"]
    data = dict(LEUKO_MM_DATA=tiny_data)
    done = leuko(*words, cwd=tmp_path, **data)
    assert done.returncode == 0, done.stderr
    assert f"starts from {start}" in done.stdout + done.stderr
    shutil.rmtree(tmp_path / "run")
    start.unlink()
    gone = leuko(*words, cwd=tmp_path, **data)
    assert gone.returncode == 2
    assert "start.pth does not exist" in gone.stderr
    assert not (tmp_path / "run").exists()
