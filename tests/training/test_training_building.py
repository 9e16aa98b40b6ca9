"""The hook reads a test's answers and writes their calibration.

Batches that cannot be normalised are refused, odd labels are survived.

The lines with which a run begins.

The plain loop: nothing that only makes it faster, and all that is learnt alike.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.cli.main import main
from leuko_mm.datasets.mosaic import MosaicDataset
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.engine.hooks import names_in_batch
from leuko_mm.errors import UsageError
from leuko_mm.losses.focal_dice import FocalDiceLoss
from leuko_mm.models.cbam import over_channels
from leuko_mm.models.size import build_bare
from leuko_mm.training.building import (
    CALIBRATION_FILE,
    CalibrationHook,
    announce_test,
    announce_training,
    check_single_image,
    make_plain,
    plain_optimiser,
)
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import TrainRequest, prepare_config, train


def answer(logits, truth, **meta):
    return SegDataSample(
        seg_logits=PixelData(data=logits),
        gt_sem_seg=PixelData(data=truth),
        metainfo=meta,
    )


def test_every_tile_is_a_cell_and_every_labelled_pixel_counts(tmp_path):
    truth = torch.ones(1, 4, 8, dtype=torch.long)
    truth[..., 4:] = 2
    truth[0, 0, 0] = 255
    logits = torch.zeros(3, 4, 8)
    logits[1] = 9.0
    tiles = [dict(box=(0, 0, 4, 4)), dict(box=(4, 0, 8, 4))]
    hook = CalibrationHook(tmp_path)
    hook.after_test_iter(None, 0, outputs=[answer(logits, truth, tiles=tiles)])
    hook.after_test_epoch(None)
    told = json.loads((tmp_path / CALIBRATION_FILE).read_text())
    assert np.sum(told["pixels"]["bins"], axis=0)[0] == 31
    assert np.sum(told["cells"]["bins"], axis=0)[[0, 2]].tolist() == [2, 1]
    assert told["cells"]["error"] == pytest.approx(50, abs=0.5)


def test_a_second_test_begins_anew_and_what_diverged_is_left_out(tmp_path):
    hook = CalibrationHook(tmp_path)
    truth = torch.ones(1, 2, 2, dtype=torch.long)
    good = answer(torch.randn(3, 2, 2), truth)
    bad = answer(torch.full((3, 2, 2), float("nan")), truth)
    hook.after_test_iter(None, 0, outputs=[good, bad])
    assert len(hook.cells) == 1
    hook.before_test_epoch(None)
    assert hook.cells == []
    assert hook.pixels.sum() == 0


@pytest.fixture(scope="module")
def _one_thread():
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)


def network(config_file, **head):
    config = resolve_config(str(config_file))
    config.model.decode_head.update(head)
    return build_bare(Config(dict(model=config.model)))


def test_a_pooled_map_of_one_image_is_refused(tiny_config):
    head = dict(
        _delete_=True,
        type="PSPHead",
        in_channels=64,
        in_index=-1,
        channels=8,
        num_classes=6,
        norm_cfg=dict(type="BN"),
    )
    config = resolve_config(str(tiny_config))
    config.model.decode_head = {k: v for k, v in head.items() if k != "_delete_"}
    model = build_bare(Config(dict(model=config.model)))
    with pytest.raises(UsageError, match=r"psp_modules.*batch_size=2"):
        check_single_image(model, 64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model.train()(torch.zeros(1, 3, 64, 64), None, mode="tensor")


def test_one_image_is_enough_for_maps_of_several_pixels(tiny_config):
    model = network(tiny_config)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_single_image(model, 64)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def labelled(value: int) -> SegDataSample:
    sample = SegDataSample(metainfo=dict(img_shape=(32, 32)))
    sample.gt_sem_seg = PixelData(data=torch.full((1, 32, 32), value))
    return sample


@pytest.mark.parametrize("label", [255, 0, 3])
@pytest.mark.parametrize(
    "loss", [dict(type="leuko_mm.FocalDiceLoss"), dict(type="CrossEntropyLoss")]
)
@pytest.mark.parametrize("more", [{}, dict(avg_non_ignore=True)])
def test_all_ignored_and_absent_classes_give_numbers(tiny_config, label, loss, more):
    if loss["type"] != "CrossEntropyLoss" and more:
        more = dict(absent="smooth")
    model = network(tiny_config, loss_decode=[{**loss, **more}]).train()
    losses = model.loss(torch.rand(2, 3, 32, 32), [labelled(label)] * 2)
    total, _ = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total)
    for name, weight in model.named_parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all(), name
    if label == 255:
        assert total == 0


def test_a_training_mosaic_tells_its_cells(tiny_dataset):
    mosaics = MosaicDataset(
        dict(name=str(tiny_dataset), split="fold1", part="train"),
        n=2,
        size=32,
        mode="resample",
        mosaics=2,
        pipeline=[dict(type="PackSegInputs")],
        tile_pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
    )
    names = names_in_batch(dict(data_samples=[mosaics[3]["data_samples"]]))
    about = {tile["stem"] for tile in mosaics.compose(3)["tiles"]}
    assert len(names) == 4
    assert set(names) == about


@pytest.mark.usefixtures("_one_thread")
def test_a_training_stops_at_a_loss_that_is_no_number(
    tiny_config, tiny_data, tmp_path, monkeypatch, capfd
):
    forward = FocalDiceLoss.forward

    def broken(self, *args, **kwargs):
        return forward(self, *args, **kwargs) * float("nan")

    monkeypatch.setattr(FocalDiceLoss, "forward", broken)
    run = tmp_path / "run"
    command = ["train", str(tiny_config), "--work-dir", str(run), "--no-amp"]
    assert main(command) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    for words in ("iteration 1: ", "loss_focal_dice is nan", "not_finite_iter_1_rank0"):
        assert words in said
    saved = load_tensors(run / "not_finite_iter_1_rank0.pth")
    assert len(saved["names"]) == 4 * len(saved["inputs"]) == 4 * len(saved["labels"])
    cells = (tiny_data / "synthetic" / "index.csv").read_text()
    assert all(f"\n{name}," in cells for name in saved["names"])
    option = said[said.index("--cfg-options") :].split()[:3]
    # With the option of the message the training ends, and its config tells of it.
    assert main([*command, "--force", *option]) == 0
    assert json.loads((run / "results.json").read_text())["run"]["iterations"] == 2


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Return a runner and what was said through its logger."""
    monkeypatch.chdir(tmp_path)
    lines = []
    log_file = str(tmp_path / "work_dirs" / "tiny" / "now.log")
    logger = SimpleNamespace(info=lines.append, log_file=log_file)
    return SimpleNamespace(logger=logger, model=nn.Linear(1, 1)), lines


def test_a_training_says_what_is_trained_on_what(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config), seed=3)
    config.optim_wrapper.enabled = True
    announce_training(runner, config)
    (text,) = lines
    assert "training tiny under the protocol smoke, seed 3" in text
    assert "synthetic, split fold5: 20 cells to learn from, 5 to test on" in text
    assert "2 iterations of 2 images of 64 x 64 pixels on cpu with" in text
    assert ", bfloat16" in text
    assert f"log       {Path('work_dirs/tiny/now.log')}" in text
    assert "goes on" not in text
    assert len(text.splitlines()) <= 5


def test_a_resumed_training_says_from_where(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config))
    config.resume, config.load_from = True, "work_dirs/tiny/iter_40.pth"
    announce_training(runner, config)
    assert "goes on from work_dirs/tiny/iter_40.pth" in lines[0]


def test_a_test_says_which_checkpoint(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config), split="all")
    announce_test(runner, config, Path("net.pth"))
    assert "testing net.pth as tiny under the protocol smoke" in lines[0]
    assert "synthetic, every cell: 25 cells on cpu" in lines[0]
    assert "bfloat16" not in lines[0]


def kinds(config) -> list[str]:
    return [hook["type"] for hook in config.custom_hooks]


@pytest.fixture
def plain():
    return prepare_config(TrainRequest("cbam_unet", protocol="half", plain=True))


def test_nothing_that_makes_it_faster_is_left(plain):
    assert plain.optim_wrapper.type == "OptimWrapper"
    assert not {"enabled", "fused"} & set(plain.optim_wrapper)
    assert kinds(plain) == ["leuko_mm.StagedFreezeHook"]
    assert plain.custom_hooks[0].cache_mib == 0


def test_what_is_learnt_and_at_which_rate_stays(plain):
    usual = prepare_config(TrainRequest("cbam_unet", protocol="half"))
    assert plain.optim_wrapper.optimizer == usual.optim_wrapper.optimizer
    for key in ("constructor", "paramwise_cfg"):
        assert plain.optim_wrapper[key] == usual.optim_wrapper[key]
    for key in ("model", "train_dataloader", "train_cfg", "param_scheduler"):
        assert plain[key] == usual[key]
    assert plain.custom_hooks[0].iters == usual.custom_hooks[1].iters


def test_how_an_optimiser_steps_is_not_asked_for():
    options = {"optim_wrapper.optimizer.fused": True}
    config = resolve_config("unet", protocol="half", options=options)
    make_plain(config)
    assert "fused" not in config.optim_wrapper.optimizer


def test_what_an_optimiser_computes_stays():
    sgd = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True)
    found = plain_optimiser(dict(type="X", optimizer=dict(sgd, foreach=True)))
    assert found == dict(type="OptimWrapper", optimizer=sgd)


def test_a_foreign_wrapper_is_left_as_it_is():
    wrapper = dict(type="Own", optimizer=dict(type="SGD", lr=0.1, nesterov=True))
    config = Config(dict(optim_wrapper=copy.deepcopy(wrapper)))
    make_plain(config)
    assert config.optim_wrapper == wrapper
    assert config.custom_hooks == []


def test_bfloat16_in_the_plain_loop_is_refused():
    with pytest.raises(UsageError, match="--plain trains in float32"):
        prepare_config(TrainRequest("unet", protocol="half", plain=True, amp=True))


def trained(config, folder, **asked):
    """Return results and weights of a training of two iterations."""
    work_dir = train(TrainRequest(str(config), work_dir=str(folder), **asked))
    weights = torch.load(work_dir / f"{work_dir.name}.pth", weights_only=True)
    return json.loads((work_dir / "results.json").read_text()), weights


def test_the_plain_loop_learns_the_same(tiny_data, tiny_config, tmp_path, monkeypatch):
    kept, passes = [], []
    monkeypatch.setattr("leuko_mm.training.run.keep_memory", lambda: kept.append(1))

    def noted(x, *, one_pass):
        passes.append(one_pass)
        return over_channels(x, one_pass=one_pass)

    monkeypatch.setattr("leuko_mm.models.cbam.over_channels", noted)
    usual, fast = trained(tiny_config, tmp_path / "usual", amp=False)
    assert (len(kept), set(passes)) == (1, {True})
    passes.clear()
    plain, slow = trained(tiny_config, tmp_path / "plain", plain=True)
    assert (len(kept), set(passes)) == (1, {False})
    assert (usual["run"]["amp"], plain["run"]["amp"]) == (False, False)
    assert plain["run"]["config_sha256"] != usual["run"]["config_sha256"]
    apart = torch.cat([(fast[name] - slow[name]).abs().flatten() for name in slow])
    # A step moves a weight by 1e-4, where its gradient is all rounding, too.
    assert (apart < 2e-5).double().mean() > 0.95
