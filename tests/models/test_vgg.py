"""VGG: torchvision's keys, and the maps before each pooling."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from leuko_mm.models import VGG

# Positions of the convolutions in torchvision's own nn.Sequential.
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG16_BN_CONVS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
VGG16_WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def expected_shapes(positions, batch_norm):
    shapes = {}
    for position, (inward, outward) in zip(
        positions, pairwise(VGG16_WIDTHS), strict=True
    ):
        shapes[f"features.{position}.weight"] = (outward, inward, 3, 3)
        shapes[f"features.{position}.bias"] = (outward,)
        if batch_norm:
            norm = f"features.{position + 1}"
            for name in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{norm}.{name}"] = (outward,)
            shapes[f"{norm}.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize(
    ("batch_norm", "positions"), [(False, VGG16_CONVS), (True, VGG16_BN_CONVS)]
)
def test_keys_and_shapes_are_torchvisions(batch_norm, positions):
    state = VGG(batch_norm=batch_norm).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes == expected_shapes(positions, batch_norm)


def test_parameter_count_is_that_of_vgg16s_convolutions():
    assert sum(p.numel() for p in VGG().parameters()) == 14_714_688


@pytest.mark.parametrize("size", [(32, 32), (37, 51), (16, 16)])
def test_shape_of_the_five_maps(size):
    net = VGG(width=0.25, batch_norm=True)
    maps = net(torch.randn(2, 3, *size))
    assert isinstance(maps, tuple)
    assert net.out_channels == (16, 32, 64, 128, 128)
    for level, (channels, x) in enumerate(zip(net.out_channels, maps, strict=True)):
        assert x.shape == (2, channels, size[0] // 2**level, size[1] // 2**level)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1.0, (64, 128, 256, 512, 512)),
        (0.3, (16, 40, 80, 152, 152)),
        (0.01, (8,) * 5),
        ([0.5, 0.25, 0.25, 0.125, 0.125], (32, 32, 64, 64, 64)),
    ],
)
def test_width_rounds_to_a_multiple_of_eight(width, expected):
    assert VGG(width=width).out_channels == expected


def test_maps_are_the_relus_before_each_pooling():
    torch.manual_seed(0)
    net = VGG(width=0.125).eval()
    image = torch.randn(1, 3, 32, 32)
    x, expected = image, []
    convs = [m for m in net.features if isinstance(m, nn.Conv2d)]
    for index, conv in enumerate(convs):
        x = torch.relu(nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))
        if index in (1, 3, 6, 9, 12):  # conv1_2, 2_2, 3_3, 4_3, 5_3
            expected.append(x)
            x = nn.functional.max_pool2d(x, 2)
    for ours, theirs in zip(net(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_start_is_kaiming_normal_with_zero_bias():
    torch.manual_seed(0)
    conv = VGG().features[28]
    assert conv.bias.abs().max() == 0
    expected = (2 / (512 * 9)) ** 0.5
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.01)
    beyond = (conv.weight.abs() > 3 * expected).float().mean()
    assert beyond > 0.002  # normal tails: a uniform draw has none


def test_grad_reaches_the_first_convolution_from_each_map():
    net = VGG(width=0.125)
    for level in range(5):
        net.zero_grad()
        net(torch.randn(1, 3, 32, 32))[level].sum().backward()
        assert net.features[0].weight.grad.abs().sum() > 0


def test_shrinking_reads_the_means_of_squares():
    torch.manual_seed(0)
    net, whole = VGG(width=0.125, shrink=2), VGG(width=0.125)
    whole.load_state_dict(net.state_dict())
    image = torch.randn(1, 3, 64, 32)
    means = image.unflatten(2, (32, 2)).unflatten(4, (16, 2)).mean(dim=(3, 5))
    for ours, theirs in zip(net(image), whole(means), strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        net(torch.zeros(1, 3, 16, 64))


def test_the_first_convolutions_are_those_of_the_whole_network():
    net, whole = VGG(width=0.125, convs=(2, 2, 1)), VGG(width=0.125)
    names = list(net.state_dict())
    assert names == list(whole.state_dict())[: len(names)]
    net.load_state_dict({name: whole.state_dict()[name] for name in names})
    image = torch.randn(1, 3, 32, 32)
    ours, theirs = net(image), whole(image)
    assert net.out_channels == (8, 16, 32)
    assert len(ours) == 3
    torch.testing.assert_close(ours[1], theirs[1])
    # conv3_1 alone: two convolutions earlier than the whole network's third map.
    assert len(net.features) == 12


def test_frozen_stages_never_learn():
    net = VGG(width=0.125, frozen_stages=2)
    sum(m.sum() for m in net(torch.randn(1, 3, 32, 32))).backward()
    learning = [name for name, p in net.named_parameters() if p.grad is not None]
    assert learning[0] == "features.10.weight"  # conv3_1
    assert len(learning) == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth=17), r"depth=17.*11, 13, 16, 19"),
        (dict(width=0), "width=0"),
        (dict(width=(0.5, 0.5)), "one for each of its 5 stages"),
        (dict(shrink=0), "shrink=0"),
        (dict(frozen_stages=6), "frozen_stages=6; this one can freeze 0 to 5"),
        (dict(frozen_stages=1, batch_norm=True), "0 to 0, since it has batch norms"),
        *(
            (dict(convs=convs), r"depth 16 has \[2, 2, 3, 3, 3\]")
            for convs in ((), (2, 3), (2, 0), (2, 2, 3, 3, 3, 1))
        ),
    ],
)
def test_raises(options, message):
    with pytest.raises(ValueError, match=message):
        VGG(**{"width": 0.125, **options})


def test_raises_on_an_image_too_small():
    with pytest.raises(ValueError, match=r"\(1, 3, 15, 40\).*16 pixels"):
        VGG(width=0.125)(torch.zeros(1, 3, 15, 40))
