"""The ResNet that also returns its stem's map."""

from __future__ import annotations

import pytest
import torch
from mmseg.models.backbones import ResNet

from leuko_mm.models import SkipResNet


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 50)])
def test_shape_of_five_maps(height, width):
    model = SkipResNet(50).eval()
    assert model.out_channels == (64, 256, 512, 1024, 2048)
    with torch.no_grad():
        maps = model(torch.zeros(1, 3, height, width))
    assert [m.shape[1] for m in maps] == list(model.out_channels)
    for level, found in enumerate(maps):
        factor = 2 ** (level + 1)
        assert found.shape[-2:] == (-(-height // factor), -(-width // factor))


@pytest.mark.parametrize("style", ["caffe", "pytorch"])
def test_value_all_but_the_stem_is_mmsegs(style):
    torch.manual_seed(0)
    theirs = ResNet(18, style=style, norm_cfg=dict(type="BN"))
    ours = SkipResNet(18, style=style)
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, 40, 40)
    stem, *rest = ours.train()(image)
    theirs.train()
    expected = theirs(image)
    for mine, their in zip(rest, expected, strict=True):
        assert torch.equal(mine, their)
    assert stem.min() == 0  # behind the ReLU, and no later layer writes into it
    assert torch.equal(ours.maxpool(stem), theirs.maxpool(stem))


def test_grad_reaches_the_stem_through_its_own_map():
    model = SkipResNet(18)
    model(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert model.conv1.weight.grad.abs().sum() > 0
    assert model.layer1[0].conv1.weight.grad is None
