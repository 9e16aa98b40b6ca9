"""What is known to be wrong before a training starts is said before it starts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_run import make_data
from torch import nn

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.models.size import build_bare
from leuko_mm.registry import TRANSFORMS
from leuko_mm.training.config import cells_config, resolve_config
from leuko_mm.training.preflight import (
    check_apart,
    check_batch_norm,
    check_data,
    check_enhancement,
    check_hooks,
    check_losses,
    check_output,
    check_run,
    check_test,
    check_weights,
)


@pytest.fixture
def config(tiny_config):
    return resolve_config(str(tiny_config))


@pytest.mark.parametrize(
    ("mark", "flag"), [("results.json", "--force"), ("last_checkpoint", "--resume")]
)
def test_a_run_that_is_there_is_not_written_over(tmp_path, mark, flag):
    (tmp_path / mark).write_text(str(tmp_path))
    with pytest.raises(UsageError, match=flag):
        check_output(tmp_path, resume=False, force=False)
    check_output(tmp_path, resume=False, force=True)
    (tmp_path / "iter_7.pth").write_bytes(b"")
    check_output(tmp_path, resume=True, force=False)


def test_a_finished_run_whose_states_are_gone_is_not_trained_again(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UsageError, match="finished run; add --force instead of"):
        check_output(tmp_path, resume=True, force=False)


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    check_output(tmp_path / "run", resume=False, force=False)
    monkeypatch.setattr("leuko_mm.training.preflight.os.access", lambda *_: False)
    with pytest.raises(UsageError, match=r"cannot be written to.*--work-dir"):
        check_output(tmp_path / "run", resume=False, force=False)


def test_a_training_does_not_test_on_its_own_cells(tiny_data, config):
    check_apart(config)
    cells_config(config, "test").split = "fold2"
    with pytest.raises(UsageError, match=r"5 of the 5 cells .*'fold2'; --split gives"):
        check_apart(config)
    cells_config(config, "test").part = "train"  # where they are asked for
    check_apart(config)


class Leak:
    """An enhancement that reads the labels."""

    def __call__(self, results):
        return {**results, "img": results["img"] * (results["gt_seg_map"] > 0)}


def enhanced(config, trained, tested):
    config.train_dataloader.dataset.enhance = trained
    config.test_dataloader.dataset.enhance = tested
    return config


RETINEX = dict(type="leuko_mm.AHERetinex")


@pytest.mark.parametrize(
    "enhance", [None, RETINEX, dict(type="leuko_mm.ValueEqualisation")]
)
def test_an_enhancement_of_ours_is_taken(config, enhance):
    check_enhancement(enhanced(config, enhance, enhance))


@pytest.mark.parametrize(
    ("trained", "tested", "said"),
    [
        (RETINEX, None, "is {'type': 'leuko_mm.AHERetinex'}, and .* is None"),
        (None, dict(RETINEX, reading="rgb"), "train_dataloader.dataset.enhance is"),
        ([RETINEX], [RETINEX], "of one part"),
        (dict(RETINEX, reading="x"), dict(RETINEX, reading="x"), "reading"),
        (dict(type="leuko_mm.Leak"),) * 2
        + ("enhance: leuko_mm.Leak fails: KeyError: 'gt_seg",),
    ],
)
def test_an_enhancement_that_no_prediction_has_is_refused(
    tiny_data, config, tmp_path, monkeypatch, trained, tested, said
):
    monkeypatch.setitem(TRANSFORMS.module_dict, "Leak", Leak)
    with pytest.raises(UsageError, match=said):
        check_run(
            enhanced(config, trained, tested), tmp_path, resume=False, force=False
        )


def test_training_needs_a_split(tiny_data, config, tmp_path):
    cells_config(config, "train").split = None
    with pytest.raises(UsageError, match="--split fold1"):
        check_run(config, tmp_path / "run", resume=False, force=False)


def test_the_data_of_both_loaders_is_checked(tiny_data, config):
    cells_config(config, "test").name = "absent"
    with pytest.raises(DatasetError, match="absent"):
        check_data(config)
    config.test_dataloader.dataset = dict(type="CityscapesDataset")
    with pytest.raises(UsageError, match=r"test_dataloader is 'CityscapesDataset'"):
        check_data(config)


def test_each_split_is_checked(tmp_path, monkeypatch, config):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    root = make_data(tmp_path)
    stem = (root / "splits" / "fold1.csv").read_text().splitlines()[1].split(",")[0]
    (root / "masks" / f"{stem}.png").unlink()
    with pytest.raises(DatasetError, match=f"{stem}.png is missing"):
        check_data(config)


def test_a_start_that_is_missing_is_named(config, tmp_path):
    config.load_from = "absent.pth"
    with pytest.raises(UsageError, match=r"absent\.pth does not exist"):
        check_weights(config)
    (tmp_path / "there.pth").write_text("")
    # An address is left to mmengine.
    for start in (str(tmp_path / "there.pth"), "https://example.org/model.pth"):
        config.load_from = start
        check_weights(config)


def test_drawing_on_files_that_mosaics_do_not_have_is_refused(config):
    hook = dict(type="SegVisualizationHook", draw=True)
    config.default_hooks.visualization = hook
    with pytest.raises(UsageError, match="a tested mosaic has none; leave the hook"):
        check_hooks(config)
    config.default_hooks.visualization = {**hook, "draw": False}
    check_hooks(config)
    config.custom_hooks = [dict(type="EMAHook"), hook]
    with pytest.raises(UsageError, match="SegVisualizationHook"):
        check_hooks(config)
    config.test_dataloader.dataset.pipeline = [dict(type="PackSegInputs")]
    check_hooks(config)


class Named(torch.nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (dict(type=Named), "Named has no loss_name; .*'loss_'"),
        (dict(type=Named, loss_name="tversky"), "Named has loss_name 'tversky'; "),
        (dict(type="NoLoss"), "NoLoss is not in the mmseg::model registry"),
        (dict(type="leuko_mm.FocalDiceLoss", gama=2), "gama"),
    ],
)
def test_a_loss_is_refused_before_weights_are_looked_for(config, loss, said):
    check_losses(config)
    for losses in (loss, [*config.model.decode_head.loss_decode, loss]):
        config.model.decode_head.loss_decode = losses
        with pytest.raises(UsageError, match=said):
            check_losses(config)


def test_losses_come_before_weights(tiny_data, config, tmp_path):
    config.model.decode_head.loss_decode = [dict(type=Named)]
    config.load_from = "absent.pth"
    with pytest.raises(UsageError, match="loss_name"):
        check_run(config, tmp_path / "run", resume=False, force=False)


@pytest.mark.parametrize(("channels", "classes"), [(9, 6), (1, 6), (6, 2)])
def test_logits_of_other_classes_than_the_data_has_are_refused(channels, classes):
    names = [str(number) for number in range(classes)]

    class Images(list):
        metainfo = dict(classes=names)

    def runner(channels):
        sample = SegDataSample(seg_logits=PixelData(data=torch.zeros(channels, 4, 4)))
        model = nn.Module()
        model.test_step = lambda batch: [sample]
        loader = SimpleNamespace(dataset=Images([0]), collate_fn=list)
        evaluator = SimpleNamespace(process=lambda **_: None, metrics=[])
        loop = SimpleNamespace(dataloader=loader, evaluator=evaluator)
        return SimpleNamespace(model=model, test_loop=loop)

    check_test(runner(classes))
    check_test(runner(1 if classes == 2 else classes))
    with pytest.raises(UsageError, match=f"logits of {channels} classes, but the data"):
        check_test(runner(channels))


def test_a_pooled_map_of_one_image_is_refused(config):
    config.train_dataloader.batch_size = 1
    config.model.decode_head = dict(
        type="PSPHead",
        in_channels=64,
        in_index=-1,
        channels=8,
        num_classes=6,
        norm_cfg=dict(type="BN"),
    )
    model = build_bare(Config(dict(model=config.model)))
    with pytest.raises(UsageError, match=r"psp_modules.*batch_size=2"):
        check_batch_norm(config)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model.train()(torch.zeros(1, 3, 64, 64), None, mode="tensor")
    config.train_dataloader.batch_size = 2
    check_batch_norm(config)
