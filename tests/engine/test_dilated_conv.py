"""Weight gradients of dilated convolutions in groups, against torch's in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_training import toy_net, toy_runner

from leuko_mm.engine.dilated_conv import (
    DilatedConv2d,
    own_weight_gradients,
    weight_gradient,
)

# Channels in and out, kernel, options. oneDNN's gradients are wrong at 32 columns, not
# at 20.
CONVOLUTIONS = {
    "depthwise": (16, 16, 3, dict(padding=2, dilation=2, groups=16)),
    "taps past the image": (16, 16, 3, dict(padding=36, dilation=36, groups=16)),
    "two channels a group": (16, 16, 3, dict(padding=3, dilation=3, groups=8)),
    "two outputs a channel": (8, 16, 5, dict(padding=4, dilation=2, groups=8)),
    "no padding": (8, 8, 3, dict(padding=0, dilation=4, groups=8)),
    "oblong": (8, 8, (1, 5), dict(padding=(0, 6), dilation=(1, 3), groups=4)),
}


@pytest.fixture(params=CONVOLUTIONS)
def convolution(request) -> nn.Conv2d:
    torch.manual_seed(0)
    channels, outputs, kernel, options = CONVOLUTIONS[request.param]
    layer = nn.Conv2d(channels, outputs, kernel, **options)
    for weights in layer.parameters():
        weights.data = weights.data.bfloat16().float()
    return layer


def gradients(layer: nn.Module, *, half: bool = False, layout=torch.channels_last):
    """Return the output, and the gradients of the image and of the weights."""
    torch.manual_seed(1)
    weight = layer.weight
    image = torch.randn(2, layer.in_channels, 20, 32).bfloat16().to(weight.dtype)
    image = image.to(memory_format=layout).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        maps = layer(image)
    factor = torch.randn(maps.shape).bfloat16().to(maps.dtype)
    (maps * factor.to(memory_format=layout)).sum().backward()
    return maps.detach(), image.grad, *(p.grad for p in layer.parameters())


def assert_near(found, expected, share: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).norm() < share * other.norm()


@pytest.mark.parametrize(("half", "share"), [(False, 1e-5), (True, 0.01)])
def test_value(convolution, half, share):
    expected = gradients(
        copy.deepcopy(convolution).double(), layout=torch.contiguous_format
    )
    assert own_weight_gradients(nn.Sequential(convolution)) == ["0"]
    assert_near(gradients(convolution, half=half), expected, share)


def test_value_by_hand():
    # One entry of the kernel sees column 2 from column 0, the other column 0 from 2.
    image = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    gradient = torch.tensor([[[[10.0, 20.0, 30.0]]]])
    result = weight_gradient(
        image, gradient, (1, 3), padding=(0, 2), dilation=(1, 2), groups=1
    )
    assert result.tolist() == [[[[30.0, 140.0, 30.0]]]]


def test_frozen_weights_take_no_gradient(convolution):
    own_weight_gradients(nn.Sequential(convolution))
    convolution.requires_grad_(False)
    image = torch.randn(1, convolution.in_channels, 20, 32, requires_grad=True)
    convolution(image).sum().backward()
    assert convolution.weight.grad is None
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "options",
    [
        dict(groups=1),
        dict(dilation=1),
        dict(stride=2),
        dict(padding="same"),
        dict(padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_left(options):
    options = dict(dilation=2, groups=8, padding=2) | options
    model = nn.Sequential(nn.Conv2d(8, 8, 3, **options))
    assert own_weight_gradients(model) == []
    assert type(model[0]) is nn.Conv2d


def test_a_channels_last_model_has_them_from_the_first_iteration(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    model = toy_net()
    model.head = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), nn.Conv2d(4, 2, 1)
    )
    names = list(model.state_dict())
    toy_runner(model, tmp_path, hooks=[dict(type="leuko_mm.ChannelsLastHook")]).train()
    assert type(model.head[0]) is DilatedConv2d
    assert list(model.state_dict()) == names
