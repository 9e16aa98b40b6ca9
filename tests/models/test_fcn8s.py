"""FCN-8s: three scales of scores, and their learnt doubling."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leuko_mm.models import VGG, FCN8sHead
from leuko_mm.models.fcn8s import ScoreDoubling

CE = {"type": "mmseg.CrossEntropyLoss"}


def make_head(**options):
    options = {"num_classes": 6, "fc_channels": 16, "loss_decode": CE, **options}
    return FCN8sHead([32, 64, 64], **options)


def test_doubling_starts_as_bilinear():
    x = torch.randn(1, 3, 5, 6)
    doubled = ScoreDoubling(3)(x, (10, 12))
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))  # the border reads zeros
    torch.testing.assert_close(doubled[inside], bilinear[inside])


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (37, 51), (95, 63)])
def test_shape_is_an_eighth(size):
    head = make_head()
    logits = head(VGG(width=0.125)(torch.randn(2, 3, *size)))
    assert logits.shape == (2, 6, size[0] // 8, size[1] // 8)


def test_value_is_the_sum_of_three_scales():
    torch.manual_seed(0)
    head = make_head().eval()
    for score in head.skip_scores:
        nn.init.normal_(score.weight)
    maps = VGG(width=0.125)(torch.randn(1, 3, 64, 64))
    third, fourth, fifth = (F.max_pool2d(m, 2) for m in maps[2:])
    x = torch.relu(head.fc7.conv(torch.relu(head.fc6.conv(fifth))))
    at16 = head.doublings[1](head.conv_seg(x), (4, 4)) + head.skip_scores[1](fourth)
    at8 = head.doublings[0](at16, (8, 8)) + head.skip_scores[0](third)
    torch.testing.assert_close(head(maps), at8)


def test_skips_start_silent_and_learn_at_once():
    head = make_head()
    maps = [torch.rand(1, c, s, s) for c, s in ((32, 16), (64, 8), (64, 4))]
    head.in_index = [0, 1, 2]
    head(maps).square().sum().backward()
    for score in head.skip_scores:
        assert score.weight.abs().max() == 0
        assert score.weight.grad.abs().sum() > 0


def test_the_papers_width_has_its_parameters():
    with torch.device("meta"):
        head = FCN8sHead([256, 512, 512], num_classes=21, loss_decode=CE)
    count = 4096 * (512 * 49 + 1) + 4096 * (4096 + 1) + 21 * (4096 + 1)
    count += 21 * (512 + 1) + 21 * (256 + 1) + 2 * 21 * 21 * 16
    assert sum(p.numel() for p in head.parameters()) == count


@pytest.mark.parametrize(
    "options", [{"in_channels": [8, 8], "in_index": [0, 1]}, {"fc_kernel": 4}]
)
def test_raises(options):
    with pytest.raises(ValueError, match="three maps, and the kernel is odd"):
        FCN8sHead(**{"in_channels": [8, 8, 8], "num_classes": 6, **options})


def test_weights_that_meet_only_padding_learn_nothing():
    torch.manual_seed(0)
    # Its full width: oneDNN computes narrower ones in another way.
    head = FCN8sHead([32, 64, 512], num_classes=6, fc_channels=512, loss_decode=CE)
    bottom = torch.randn(2, 512, 2, 2)
    torch.testing.assert_close(head._padded_fc6(bottom), head.fc6(bottom))
    for _ in range(5):
        head.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            head._padded_fc6(bottom).float().square().sum().backward()
        gradient = head.fc6.conv.weight.grad
        # Of 7 x 7 weights a map of 2 x 2 meets 3 x 3.
        assert gradient[:, :, 2:5, 2:5].abs().sum() > 0
        gradient[:, :, 2:5, 2:5] = 0
        assert (gradient == 0).all()
