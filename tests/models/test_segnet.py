"""SegNet: unpooling by the encoder's indices."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leuko_mm.models import VGG, SegNetHead
from leuko_mm.models.segnet import SegNetDecoder

CE = {"type": "mmseg.CrossEntropyLoss"}


def test_the_maps_give_the_indices_of_the_encoders_own_pooling():
    torch.manual_seed(0)
    vgg = VGG(width=0.125).eval()
    x, taken = torch.randn(1, 3, 37, 51), []
    image = x
    for layer in vgg.features:
        if isinstance(layer, nn.MaxPool2d):
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            taken.append(indices)
        else:
            x = layer(x)
    for indices, skip in zip(taken, vgg(image), strict=False):
        again = F.max_pool2d(skip, 2, return_indices=True)[1]
        assert torch.equal(again, indices)


def test_a_value_returns_to_its_place_and_the_rest_is_empty():
    decoder = SegNetDecoder([1], [1], norm_cfg=None)
    conv = decoder.levels[0][0].conv
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 1, 1] = 1  # the identity
    skip = torch.zeros(1, 1, 4, 5)
    skip[0, 0, 1, 0], skip[0, 0, 2, 3] = 3.0, 2.0
    assert torch.equal(decoder([skip]), skip)
    skip[0, 0, 2, 2] = 1.0  # below its neighbour: lost
    expected = skip.clone()
    expected[0, 0, 2, 2] = 0
    assert torch.equal(decoder([skip]), expected)


def test_the_decoder_mirrors_vgg16():
    head = SegNetHead([64, 128, 256, 512, 512], num_classes=6, loss_decode=CE)
    convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    given = sorted((c.in_channels, c.out_channels) for c in convs)
    encoder = [m for m in VGG().features if isinstance(m, nn.Conv2d)]
    mirrored = sorted((c.out_channels, c.in_channels) for c in encoder)
    # the image's three channels become the classes
    assert given == sorted([*(m for m in mirrored if m[1] != 3), (64, 6)])
    assert sum(isinstance(m, nn.BatchNorm2d) for m in head.modules()) == 12


def test_no_value_of_a_skip_is_carried_over():
    torch.manual_seed(0)
    head = SegNetHead([8, 16, 32, 64, 64], num_classes=6, loss_decode=CE).eval()
    maps = list(VGG(width=0.125)(torch.randn(1, 3, 37, 51)))
    before = head(maps)
    assert before.shape == (1, 6, 37, 51)
    maps[0] = maps[0] * 5  # the places of the maxima stay
    torch.testing.assert_close(head(maps), before)
    maps[0] = maps[0].flip(-1)
    assert not torch.allclose(head(maps), before)


def test_raises():
    with pytest.raises(ValueError, match="one number of convolutions for each map"):
        SegNetDecoder([8, 16], [1], norm_cfg=None)
