"""Batches that cannot be normalised are refused, odd labels are survived."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from leuko_mm.cli.main import main
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.engine.finite_loss import names_of
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.losses.focal_dice import FocalDiceLoss
from leuko_mm.workflows.model_size import build_bare
from leuko_mm.workflows.numerical_guards import check_single_image
from leuko_mm.workflows.resolve_config import resolve_config


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
    names = names_of(dict(data_samples=[mosaics[3]["data_samples"]]))
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
