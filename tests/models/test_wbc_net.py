"""WBC-Net: the residual encoder and the nested decoder."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.models import NestedUNetHead, ResidualContextEncoder
from leuko_mm.models.wbc_net import NestedDecoder

WIDTHS = [4, 8, 16, 32]
CE = {"type": "mmseg.CrossEntropyLoss"}


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
def test_shape_of_maps_and_logits(size):
    maps = ResidualContextEncoder(WIDTHS)(torch.randn(2, 3, *size))
    for level, x in enumerate(maps):
        expected = (2, WIDTHS[level], size[0] // 2**level, size[1] // 2**level)
        assert x.shape == expected
    head = NestedUNetHead(WIDTHS, num_classes=6, loss_decode=CE)
    assert head(maps).shape == (2, 6, *size)


def test_a_block_without_weights_lets_its_input_pass():
    net = ResidualContextEncoder([3], norm_cfg={"type": "BN"}).eval()
    for block in net.levels[0]:
        nn.init.zeros_(block.conv2.conv.weight)
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(net(image)[0], image)


def test_dilation_widens_the_view_and_costs_nothing():
    reach, sizes = {}, {}
    for dilation in (1, 2):
        net = ResidualContextEncoder([4], dilation=dilation).eval()
        image = torch.randn(1, 3, 31, 31, requires_grad=True)
        net(image)[0][0, :, 15, 15].sum().backward()
        reach[dilation] = int((image.grad.abs().sum(dim=(0, 1, 3)) > 0).sum())
        sizes[dilation] = sum(p.numel() for p in net.parameters())
    assert reach == {1: 9, 2: 13}  # 2 blocks of (1 + dilation) to each side
    assert sizes[1] == sizes[2]


def test_nodes_read_all_on_their_left_and_the_one_below():
    decoder = NestedDecoder(WIDTHS)
    assert set(decoder.nodes) == {"0_1", "1_1", "2_1", "0_2", "1_2", "0_3"}
    reads = {name: node[0].conv.in_channels for name, node in decoder.nodes.items()}
    assert reads["0_1"] == 4 + 8
    assert reads["1_2"] == 2 * 8 + 16
    assert reads["0_3"] == 3 * 4 + 8


def test_values_follow_the_definition():
    torch.manual_seed(0)
    decoder = NestedDecoder([4, 8, 16], norm_cfg={"type": "BN"}).eval()
    x00, x10, x20 = maps = [torch.randn(1, c, 16 // c, 16 // c) for c in (4, 8, 16)]

    def node(name, below, *row):
        raised = decoder.enlargements[name].deconv(below)
        return decoder.nodes[name](torch.cat((*row, raised), dim=1))

    x01, x11 = node("0_1", x10, x00), node("1_1", x20, x10)
    x02 = node("0_2", x11, x00, x01)
    for ours, expected in zip(decoder(maps), (x01, x02), strict=True):
        torch.testing.assert_close(ours, expected)


def samples(size):
    data = torch.randint(0, 6, (1, *size))
    return [SegDataSample(gt_sem_seg=PixelData(data=data)) for _ in range(2)]


def test_deep_supervision_trains_every_column():
    torch.manual_seed(0)
    head = NestedUNetHead(WIDTHS, num_classes=6, deep_supervision=True, loss_decode=CE)
    maps = [torch.randn(2, c, 32 // c, 32 // c) for c in WIDTHS]
    truth = samples((8, 8))
    loss = head.loss(maps, truth, {})["loss_ce"]
    loss.backward()
    assert len(head.inner_classifiers) == 2
    assert all(c.weight.grad.abs().sum() > 0 for c in head.inner_classifiers)
    head.eval()
    columns = head._all_logits(maps)
    torch.testing.assert_close(head(maps), sum(columns) / 3)
    each = [head.loss_by_feat(one, truth)["loss_ce"] for one in columns]
    mean = head.loss(maps, truth, {})["loss_ce"]
    torch.testing.assert_close(mean, sum(each) / 3)


def test_raises_on_an_image_too_small():
    with pytest.raises(ValueError, match=r"\(1, 3, 7, 20\).*8 pixels"):
        ResidualContextEncoder(WIDTHS)(torch.zeros(1, 3, 7, 20))
