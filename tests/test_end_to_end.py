"""A whole run through the command line: train, test, stop, resume, publish."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import process_environment, write_config

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.bcisc import prepare_bcisc
from leuko_mm.datasets.prepared import read_about
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.hooks import GracefulStopHook
from leuko_mm.evaluation.metric import load_cells
from leuko_mm.models.encoders import VGG
from leuko_mm.training.building import build_runner
from leuko_mm.training.run import TrainRequest, prepare_config

# The keys of a results file, by block: what is published must not change unnoticed.
RESULTS = {
    "run": "name command method variant protocol split seed git config_sha256 "
    "iterations selected_on started wall_s device threads amp",
    "data": "dataset sha256 split_sha256 train_groups test_groups mosaic size enhance",
    "env": "leuko_mm python torch mmengine mmcv mmseg opencv numpy cpu gpu",
    "model": "params_m gmacs pretrained input_size reading",
    "metrics": "mIoU mIoU_fg mF1 mPrecision mRecall pixel_accuracy ovr_accuracy",
}
SIDECAR = (
    "schema method config classes colours scale enhance normalisation training metrics "
    "licence sha256"
)
CLASS_KEYS = "precision recall f1 iou ovr_accuracy"
ENHANCE = dict(type="leuko_mm.AHERetinex", reading="hsv")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(one_thread, tiny_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        yield tiny_home


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def config(place):
    return write_config(place, enhance=repr(ENHANCE))


def train(config, folder, *more) -> int:
    arguments = [str(config), "--work-dir", str(folder), "--no-amp", *more]
    return main(["train", *arguments])


@pytest.fixture(scope="module")
def finished(home, place, config):
    """Return the folder of a run of two iterations."""
    assert train(config, place / "finished") == 0
    return place / "finished"


def results_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_network_with_one_class_a_cell_is_trained(home, config, tmp_path):
    kind = "model.type=leuko_mm.CellEncoderDecoder"
    options = ["--cfg-options", kind, "model.test_cfg.least_area=4"]
    assert train(config, tmp_path / "run", *options) == 0
    reading = results_of(tmp_path / "run")["model"]["reading"]
    assert reading == {"least_area": 4}


def test_results_hold_exactly_the_agreed_keys(finished):
    results = results_of(finished)
    blocks = {"schema", *RESULTS, "per_class", "confusion", "cells", "checkpoint"}
    assert set(results) == blocks
    for block, keys in RESULTS.items():
        assert set(results[block]) == set(keys.split()), block
    assert list(results["per_class"]) == list(CLASS_NAMES)
    for scores in results["per_class"].values():
        assert set(scores) == set(CLASS_KEYS.split())
    assert results["schema"] == 1


def test_results_say_what_was_run(finished, home, config):
    results = results_of(finished)
    run, data = results["run"], results["data"]
    assert (run["method"], run["protocol"], run["split"]) == ("tiny", "smoke", "fold5")
    assert (run["seed"], run["iterations"], run["selected_on"]) == (0, 2, "last")
    assert run["command"].startswith(f"leuko train {config}")
    assert (run["device"], run["amp"]) == ("cpu", False)
    about = read_about(home / "synthetic")
    assert (data["dataset"], data["sha256"]) == ("synthetic", about["sha256"])
    assert data["test_groups"] == ["slide_5"]
    assert data["train_groups"] == [f"slide_{i}" for i in (1, 2, 3, 4)]
    assert data["mosaic"] == dict(n=2, mode="resample")
    assert (data["size"], data["enhance"]) == (64, ENHANCE)


def test_the_cells_sum_up_to_the_confusion(finished, home):
    results = results_of(finished)
    cells = load_cells(finished / results["cells"])
    np.testing.assert_array_equal(cells.confusion.sum(0), results["confusion"])
    lines = (home / "synthetic" / "splits" / "fold5.csv").read_text().splitlines()
    tested = [line.split(",")[0] for line in lines if line.endswith(",test")]
    assert sorted(cells.stem) == sorted(tested)
    assert set(cells.group) == {"slide_5"}
    # Every tile of a 2x2 mosaic of 64 pixels is 32x32.
    assert set(cells.confusion.sum((1, 2))) == {32 * 32}


def checkpoint_of(folder: Path) -> tuple[Path, dict]:
    path = folder / f"{folder.name}.pth"
    return path, json.loads(path.with_suffix(".json").read_text())


def test_the_sidecar_says_what_the_checkpoint_is(finished):
    path, sidecar = checkpoint_of(finished)
    results = results_of(finished)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    tensors = torch.load(path, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    assert set(sidecar) == set(SIDECAR.split())
    assert set(sidecar["config"]) == {"classes", "model", "data_preprocessor"}
    keys = "dataset sha256 split_sha256 split seed iterations git"
    assert set(sidecar["training"]) == set(keys.split())
    assert sidecar["sha256"] == results["checkpoint"]["sha256"] == digest
    assert results["checkpoint"]["file"] == path.name
    assert sidecar["classes"] == list(CLASS_NAMES)
    assert sidecar["colours"] == [list(colour) for colour in CLASS_COLOURS]
    assert sidecar["enhance"] == ENHANCE
    assert sidecar["metrics"] == results["metrics"]
    assert sidecar["training"]["sha256"] == results["data"]["sha256"]


def test_testing_the_checkpoint_scores_as_the_training(finished, tiny_data, config):
    path, _ = checkpoint_of(finished)
    assert main(["test", str(config), str(path)]) == 0
    folder = finished / "test-smoke-fold5"
    tested, trained = results_of(folder), results_of(finished)
    assert set(tested) == set(trained)
    assert tested["confusion"] == trained["confusion"]
    assert tested["metrics"] == trained["metrics"]
    for block, key in (
        ("run", "seed"),
        ("run", "iterations"),
        ("checkpoint", "sha256"),
    ):
        assert tested[block][key] == trained[block][key]
    assert tested["data"]["mosaic"] == dict(n=2, mode="every")
    assert list(folder.glob("*.pth")) == []


@pytest.fixture
def copied(finished, tmp_path):
    """Return a checkpoint with its sidecar that a test may spoil."""
    path, _ = checkpoint_of(finished)
    for file in (path, path.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / path.name


def refused(capfd, *arguments) -> str:
    capfd.readouterr()
    assert main(["test", *map(str, arguments)]) == 2
    err = capfd.readouterr().err
    assert "Traceback" not in err
    return err[err.index("leuko test: ") :]


def test_a_test_is_published_beside_the_trainings(
    copied, tiny_data, config, tmp_path, capfd
):
    target = tmp_path / "results" / "smoke" / "cbam_unet-again-fold5-s0.json"
    words = [str(config), str(copied), "--publish", str(target)]
    assert main(["test", *words]) == 0
    published = json.loads(target.read_text())
    assert (target.parent / published["cells"]).is_file()
    own = results_of(copied.parent / "test-smoke-fold5")
    assert published["confusion"] == own["confusion"]
    # Before anything is tested: what stands there is not replaced unasked.
    stamp = target.stat().st_mtime_ns
    assert "add --force" in refused(capfd, *words)
    assert target.stat().st_mtime_ns == stamp


def test_what_does_not_fit_the_checkpoint_is_refused(
    copied, tiny_data, config, tmp_path, capfd
):
    plain = write_config(tmp_path, name="plain")
    assert "was trained with enhance" in refused(capfd, plain, copied)
    # Cells of its training are not tested.
    assert "--split fold5" in refused(capfd, config, copied, "--split", "fold1")
    copied.write_bytes(copied.read_bytes()[:-1])
    assert "sha256" in refused(capfd, config, copied)


LONGER = """
train_cfg = dict(max_iters=4)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=0, end=4)]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=3)]
model['backbone']['init_cfg'] = dict(
    type='leuko_mm.EncoderWeights', checkpoint='{weights}')
"""


@pytest.fixture(scope="module")
def longer(place):
    """Return a config of four iterations, the encoder frozen for three of them."""
    torch.manual_seed(5)
    weights = place / "weights.pth"
    torch.save(VGG(width=0.125).state_dict(), weights)
    return write_config(place, name="longer", more=LONGER.format(weights=weights))


@pytest.fixture(scope="module")
def undisturbed(home, place, longer):
    assert train(longer, place / "undisturbed") == 0
    return place / "undisturbed"


def equal_weights(one: Path, other: Path) -> bool:
    first, second = (load_tensors(checkpoint_of(folder)[0]) for folder in (one, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("after", "number", "code"), [(2, signal.SIGTERM, 143), (3, signal.SIGINT, 130)]
)
def test_a_stopped_and_resumed_run_ends_as_an_undisturbed_one(
    undisturbed, longer, tiny_data, tmp_path, capfd, after, number, code
):
    answer = GracefulStopHook.after_train_iter

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == after:
            os.kill(os.getpid(), number)
        answer(self, runner, *args, **kwargs)

    folder = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GracefulStopHook, "after_train_iter", after_train_iter)
        assert train(longer, folder) == code
    out, said = capfd.readouterr()
    assert number.name in said
    assert "training tiny under the protocol smoke" in out
    assert "System environment" not in out
    assert not (folder / "results.json").exists()
    assert train(longer, folder) == 2, "an unfinished run is not written over"
    typed = shlex.split(said.splitlines()[-1])
    assert typed[-1] == "--resume"
    assert main(typed[1:]) == 0
    results = results_of(folder)
    assert results["run"]["iterations"] == 4
    assert equal_weights(folder, undisturbed)
    assert results["confusion"] == results_of(undisturbed)["confusion"]


def test_a_run_that_fails_says_how_to_go_on(longer, tiny_data, tmp_path, monkeypatch):
    def fail(self, runner, *args, **kwargs):
        if runner.iter == 2:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(GracefulStopHook, "after_train_iter", fail)
    every = ["--cfg-options", "default_hooks.checkpoint.interval=1"]
    with pytest.raises(RuntimeError, match="out of memory") as caught:
        train(longer, tmp_path / "run", *every)
    if hasattr(caught.value, "__notes__"):
        typed = shlex.split(caught.value.__notes__[-1].splitlines()[-1])
        assert typed[:3] == ["leuko", "train", str(longer)]
        assert typed[-3:] == [*every, "--resume"]
    assert (tmp_path / "run" / "iter_2.pth").exists()


def test_the_same_seed_gives_the_same_weights(undisturbed, longer, tiny_data, tmp_path):
    assert train(longer, tmp_path / "again") == 0
    assert equal_weights(tmp_path / "again", undisturbed)


def test_a_signal_to_the_whole_group_saves_the_state(tiny_data, tmp_path):
    """As `timeout` and batch systems send it: the data worker gets it too."""
    config = write_config(tmp_path)
    folder = tmp_path / "run"
    arguments = ["train", config, "--work-dir", folder, "--no-amp", "--cfg-options"]
    arguments += ["train_cfg.max_iters=100000", "train_dataloader.num_workers=1"]
    arguments += ["default_hooks.logger.interval=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "leuko_mm.cli.main", *map(str, arguments)],
        cwd=tmp_path,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if "Iter(train)" in line and not any("Iter(train)" in x for x in said[:-1]):
            os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 143, "".join(said)[-2000:]
    assert "Traceback" not in "".join(said)
    assert shlex.split(said[-1])[:2] == ["leuko", "train"]
    assert said[-1].endswith(" --resume\n")
    state = Path((folder / "last_checkpoint").read_text())
    assert state.name == f"iter_{int(state.stem[5:])}.pth"
    done = torch.load(state, weights_only=False)["meta"]["iter"]
    assert done == int(state.stem[5:]) >= 1


@pytest.mark.slow
def test_the_papers_own_config_trains_on_real_cells(
    shared_folder, tmp_path, monkeypatch
):
    """Two frozen and two thawed steps at 512x512, batch 2, from ImageNet weights."""
    home = tmp_path / "data"
    prepare_bcisc(shared_folder / "datasets" / "BCISC", home / "bcisc")
    (home / "weights").symlink_to(shared_folder / "weights")
    monkeypatch.setenv("LEUKO_MM_DATA", str(home))
    monkeypatch.chdir(tmp_path)
    options = {"train_cfg.max_iters": 4, "custom_hooks.1.iters": 2}
    options["default_hooks.checkpoint.interval"] = 2
    work_dir = str(tmp_path / "run")
    request = TrainRequest("cbam_unet", work_dir=work_dir, options=options)
    build_runner(prepare_config(request)).train()
    frozen, thawed = (
        load_tensors(tmp_path / "run" / f"iter_{number}.pth")["state_dict"]
        for number in (2, 4)
    )
    (path,) = (shared_folder / "weights").glob("vgg16*")
    for key, value in load_tensors(path).items():
        name = f"backbone.{key}"
        assert torch.equal(frozen[name], value.float()), name
        assert torch.isfinite(thawed[name]).all()
        assert not torch.equal(thawed[name], frozen[name]), name
