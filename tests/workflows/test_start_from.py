"""Fine-tuning: a training that starts from a trained model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tiny_checkpoint import rewrite, write_tiny
from tiny_run import leuko, write_config

from leuko_mm.datasets.prepared import read_about
from leuko_mm.engine.pretrained_part import is_pretrained
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.inference.checkpoint import CheckpointError
from leuko_mm.workflows.model_size import build_bare, named_weights
from leuko_mm.workflows.start_from import check_start
from leuko_mm.workflows.train import TrainRequest, build_runner, prepare_config, train

IMAGENET = dict(type="leuko_mm.EncoderWeights", checkpoint="vgg16")


@pytest.fixture
def start(tmp_path, tiny_config):
    """Return a checkpoint of the tiny network, of other data than the run's."""
    path = tmp_path / "start.pth"
    write_tiny(path, tiny_config)
    return path


def prepared(config, start, **wishes):
    return prepare_config(TrainRequest(str(config), load_from=str(start), **wishes))


def test_every_weight_is_that_of_the_model(tmp_path, tiny_data, tiny_config, start):
    config = prepared(tiny_config, start, work_dir=str(tmp_path / "run"))
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
    config = prepared(tiny_config, start)
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
    check_start(prepared(tiny_config, start, split="fold1"))
    with pytest.raises(UsageError, match=r"--load-from: .*start\.pth: 5 of the 5"):
        check_start(prepared(tiny_config, start))
    wish = dict(load_from=str(start), work_dir=str(tmp_path / "run"))
    with pytest.raises(UsageError, match="--split fold1"):
        train(TrainRequest(str(tiny_config), **wish))
    assert not (tmp_path / "run").exists()


def test_another_network_is_refused_by_its_tensors(tmp_path, tiny_data, start):
    wider = write_config(tmp_path, name="wider")
    wider.write_text(wider.read_text().replace("[32, 16, 16, 8]", "[32, 16, 16, 12]"))
    shapes = r"decode_head\.\S+ is \[8.*\] there and \[12.*\] here"
    with pytest.raises(UsageError, match=f"another network than tiny.*{shapes}"):
        prepared(wider, start)


def test_other_classes_are_refused(tiny_data, tiny_config, start):
    two = {"model.decode_head.num_classes": 2}
    with pytest.raises(UsageError, match="or of other classes"):
        prepared(tiny_config, start, options=two)


def test_a_file_without_its_sidecar_is_refused(tiny_data, tiny_config, start):
    start.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="has no sidecar"):
        prepared(tiny_config, start)
    with pytest.raises(UsageError, match="does not exist"):
        prepared(tiny_config, start.with_name("none.pth"))
    with pytest.raises(ValueError, match="cbam_unet_compac"):
        prepared(tiny_config, "cbam_unet_compac")


def test_the_model_of_the_package_is_a_start_by_its_name(tiny_data):
    config = prepared("cbam_unet_compact", "cbam_unet_compact", data="synthetic")
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
