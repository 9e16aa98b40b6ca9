"""Batch norms are folded where that is sure to be right, and the answer stays."""

from __future__ import annotations

import copy

import pytest
import torch
from exported_network import write_uneven
from mmcv.cnn import ConvModule
from torch import nn

from leuko_mm.inference.checkpoint import read_checkpoint
from leuko_mm.inference.folding import fold_batch_norms
from leuko_mm.models.vgg import VGG


def uneven(model):
    """Give batch norms numbers as a training leaves them."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval().requires_grad_(False)


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_a_network_of_ours_answers_as_before(tmp_path):
    model = read_checkpoint(write_uneven(tmp_path)).model
    image = torch.randn(1, 3, 32, 48)
    shape = dict(ori_shape=(32, 48), img_shape=(32, 48), pad_shape=(32, 48))
    before = model.encode_decode(image, [shape])
    there = norms(model)
    assert fold_batch_norms(model) == there > 0
    assert norms(model) == 0
    torch.testing.assert_close(
        model.encode_decode(image, [shape]), before, atol=1e-4, rtol=1e-4
    )


def test_maps_taken_between_layers_stay_the_same():
    encoder = uneven(VGG(11, width=0.125, batch_norm=True))
    image = torch.randn(1, 3, 32, 32)
    before = encoder(image)
    assert fold_batch_norms(encoder) == 8
    for own, other in zip(encoder(image), before, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        ConvModule(3, 4, 1, norm_cfg=dict(type="BN"), order=("norm", "conv", "act")),
        ConvModule(3, 4, 1, norm_cfg=dict(type="GN", num_groups=2)),
        ConvModule(3, 4, 1),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.ModuleList([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)]),
    ],
)
def test_what_may_be_read_by_others_is_left_alone(model):
    model = uneven(copy.deepcopy(model))
    state = list(model.state_dict())
    assert fold_batch_norms(model) == 0
    assert list(model.state_dict()) == state


def test_a_network_in_training_is_left_alone():
    pair = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    assert fold_batch_norms(pair) == 0
