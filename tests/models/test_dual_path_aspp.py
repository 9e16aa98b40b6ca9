"""The dual-path encoder, and pooling at several dilations."""

import pytest
import torch
from torch import nn

from leuko_mm.models import ASPPNeck, DualPathEncoder


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
def test_shape_of_the_maps(size):
    net = DualPathEncoder([8, 16, 32], blocks=3)
    assert net.out_channels == (8 + 5, 16 + 10, 32 + 20)
    height, width = size
    for channels, x in zip(
        net.out_channels, net(torch.randn(2, 3, *size)), strict=True
    ):
        assert x.shape == (2, channels, height, width)
        height, width = (height + 1) // 2, (width + 1) // 2


def test_a_block_adds_to_one_part_and_appends_the_other():
    torch.manual_seed(0)
    net = DualPathEncoder([16], blocks=2).eval()
    first, second = net.levels[0]
    x = first(torch.randn(1, 16, 6, 6))
    assert x.shape[1] == 16 + 3 * 2
    y, new = second(x), second.bottleneck(x)
    torch.testing.assert_close(y[:, :16], x[:, :16] + new[:, :16])  # residual path
    torch.testing.assert_close(y[:, 16:22], x[:, 16:])  # dense path, kept
    torch.testing.assert_close(y[:, 22:], new[:, 16:])  # and grown


def test_groups_split_the_wide_convolutions():
    net = DualPathEncoder([32], groups=4)
    wide = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(wide) == 2
    assert all(m.groups == 4 and m.kernel_size == (3, 3) for m in wide)


def test_aspp_is_its_branches_joined():
    torch.manual_seed(0)
    neck = ASPPNeck([4, 8], 6, rates=[1, 2], norm_cfg={"type": "BN"}).eval()
    x = torch.randn(1, 8, 9, 9)
    near, far = (torch.relu(b.bn(b.conv(x))) for b in neck.branches)
    mean = neck.pooled.conv(x.mean(dim=(2, 3), keepdim=True)).relu()
    joined = torch.cat((near, far, mean.expand_as(near)), dim=1)
    expected = torch.relu(neck.join.bn(neck.join.conv(joined)))
    finer = torch.randn(1, 4, 18, 18)
    found = neck([finer, x])
    assert found[0] is finer
    torch.testing.assert_close(found[1], expected)
    assert neck.branches[1].conv.dilation == (2, 2)


@pytest.mark.parametrize("options", [{"groups": 3}, {"growth_divisor": 5}])
def test_raises_on_widths_that_do_not_divide(options):
    with pytest.raises(ValueError, match=r"widths=\[16, 32\].*divisible by"):
        DualPathEncoder([16, 32], **options)
