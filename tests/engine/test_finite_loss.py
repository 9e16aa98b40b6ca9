"""A loss that is no number stops a training, or is left out, and is traced."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmseg.structures import SegDataSample
from torch import nn
from toy_training import ADAM, ToyNet, toy_data, toy_runner

from leuko_mm.engine.finite_loss import FiniteLossHook, NotFiniteError, names_of
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.registry import HOOKS

BAD = 2  # counted from 0


class TwoLosses(ToyNet):
    """Tells two parts of its loss, of which one is always a number."""

    def forward(self, image, target, mode="loss"):
        whole = super().forward(image, target)["loss"]
        return dict(loss_fit=whole, loss_size=self.head.weight.square().mean())


def net(**options) -> ToyNet:
    torch.manual_seed(0)
    return TwoLosses(norm=True, **options)


def data(value: float = float("nan"), *batches: int):
    samples = toy_data()
    for batch in batches or (BAD,):
        samples[4 * batch]["image"][0, 0, 0] = value
    return samples


def trained(folder, samples, *hooks) -> nn.Module:
    runner = toy_runner(net(), folder, hooks=hooks, data=samples, optim_wrapper=ADAM)
    runner.train()
    return runner.model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_it_stops_with_the_batch_saved_and_the_weights_of_before(tmp_path, value):
    class Keep(Hook):
        weights = None

        def after_train_iter(self, runner, *args, **kwargs):
            self.weights = {
                key: value.clone() for key, value in runner.model.named_parameters()
            }

    keep = Keep()
    runner = toy_runner(
        net(),
        tmp_path,
        hooks=[FiniteLossHook(), keep],
        data=data(value),
        optim_wrapper=ADAM,
    )
    with pytest.raises(NotFiniteError) as raised:
        runner.train()
    for words in ("iteration 3", "loss_fit is", "default_hooks.finite_loss.skip=10"):
        assert words in str(raised.value)
    assert "loss_size is" not in str(raised.value)
    assert keep.weights.keys() == dict(runner.model.named_parameters()).keys()
    for name, tensor in runner.model.named_parameters():
        assert torch.equal(tensor, keep.weights[name])
    saved = load_tensors(tmp_path / "not_finite_iter_3_rank0.pth")
    assert saved["losses"].keys() == {"loss", "loss_fit", "loss_size"}
    assert raised.value.exit_code == 1


def test_a_batch_left_out_changes_neither_weights_nor_statistics(tmp_path):
    skipping = FiniteLossHook(skip=1)
    model = trained(tmp_path / "a", data(), skipping)
    assert skipping.skipped == 1
    assert (tmp_path / "a" / "not_finite_iter_3_rank0.pth").is_file()
    # The same training without that batch, one iteration shorter.
    samples = toy_data()
    del samples[4 * BAD : 4 * BAD + 4]
    torch.manual_seed(0)
    runner = toy_runner(
        net(),
        tmp_path / "b",
        data=samples,
        optim_wrapper=ADAM,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=5),
    )
    runner.train()
    for name, tensor in runner.model.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_it_changes_nothing_of_a_sound_training(tmp_path):
    guarded = trained(tmp_path / "a", toy_data(), FiniteLossHook(skip=3))
    alone = trained(tmp_path / "b", toy_data())
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, guarded.state_dict()[name]), name
    assert "parse_losses" not in vars(guarded)


def test_more_than_were_allowed_stop(tmp_path, caplog):
    hook = FiniteLossHook(skip=2)
    with pytest.raises(NotFiniteError, match="2 batches were left out before it"):
        trained(tmp_path, data(float("nan"), 0, 1, 3), hook)
    assert len(list(tmp_path.glob("not_finite_*.pth"))) == 3


def test_leaving_out_is_told(tmp_path):
    told = []

    class Listen(logging.Handler):
        def emit(self, record):
            told.append(record.getMessage())

    runner = toy_runner(
        net(),
        tmp_path,
        hooks=[FiniteLossHook(skip=1)],
        data=data(),
        log_level="WARNING",
    )
    MMLogger.get_current_instance().addHandler(Listen())
    runner.train()
    assert any("iteration 3" in words and "Left out (1 of" in words for words in told)


def test_names_of_cells_of_files_and_of_nothing():
    tiles = [dict(stem="baso_1-1_0"), dict(stem="mono_2-1_0")]
    samples = [
        SegDataSample(metainfo=dict(tiles=tiles, img_path="not asked for")),
        SegDataSample(metainfo=dict(img_path="images/neut_1-1_0.jpg")),
    ]
    wanted = ["baso_1-1_0", "mono_2-1_0", "images/neut_1-1_0.jpg"]
    assert names_of(dict(data_samples=samples)) == wanted
    assert names_of(dict(image=1)) == names_of(None) == []


def test_registry_and_raises():
    hook = HOOKS.build(dict(type="leuko_mm.FiniteLossHook", skip=2))
    assert hook.skip == 2
    with pytest.raises(ValueError, match="skip=-1"):
        FiniteLossHook(skip=-1)
