"""The U-Net decoder and heads: shapes, values and their start."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F

from leuko_mm.models import FCN8sHead, NestedUNetHead, SegNetHead, UNetDecoder, UNetHead
from leuko_mm.models.unet_head import Enlarge


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "deconv"])
@pytest.mark.parametrize("size", [(7, 10), (6, 11), (5, 9)])
def test_shape_is_the_one_asked_for(mode, size):
    assert Enlarge(4, mode)(torch.randn(2, 4, 3, 5), size).shape == (2, 4, *size)


def test_a_deconvolution_is_the_plain_one_on_even_sizes():
    enlarge, x = Enlarge(4, "deconv"), torch.randn(1, 4, 3, 5)
    weight, bias = enlarge.deconv.weight, enlarge.deconv.bias
    expected = F.conv_transpose2d(x, weight, bias, stride=2)
    torch.testing.assert_close(enlarge(x, (6, 10)), expected, atol=1e-6, rtol=0)
    # Where a halving had rounded up, the surplus row and column are cut.
    torch.testing.assert_close(enlarge(x, (5, 9)), expected[..., :5, :9])


def test_an_enlargement_raises():
    with pytest.raises(ValueError, match="upsample='cubic'"):
        Enlarge(4, "cubic")
    with pytest.raises(ValueError, match=r"cannot make \(12, 10\) of \(3, 5\)"):
        Enlarge(4, "deconv")(torch.zeros(1, 4, 3, 5), (12, 10))


CE = {"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}
HEADS = {
    # head, and how many values its classifier sums up
    "unet": (lambda **o: UNetHead([64, 64], [64], **o), 64),
    "nested": (lambda **o: NestedUNetHead([64, 64], **o), 64),
    "segnet": (lambda **o: SegNetHead([64, 64], convs=[2, 1], **o), 9 * 64),
    "fcn8s": (lambda **o: FCN8sHead([8, 8, 8], fc_channels=64, **o), 64),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_classifier_starts_with_logits_of_the_size_of_the_features(name):
    torch.manual_seed(0)
    make, summed = HEADS[name]
    head = make(num_classes=6, loss_decode=CE)
    head.init_weights()
    weight = head.conv_seg.weight
    assert weight.std().item() == pytest.approx(summed**-0.5, rel=0.12)
    assert head.conv_seg.bias.abs().max() == 0
    assert weight[0].numel() == summed


def test_convolutions_start_kaiming_normal_and_a_norm_replaces_the_bias():
    torch.manual_seed(0)
    head = UNetHead([64, 128], [64], num_classes=6, loss_decode=CE)
    head.init_weights()
    conv = head.decoder.steps[0][0].conv
    expected = (2 / (64 * 9)) ** 0.5  # Kaiming, fan out
    assert conv.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert conv.bias.abs().max() == 0
    normed = UNetHead(
        [64, 128], [64], num_classes=6, loss_decode=CE, norm_cfg={"type": "BN"}
    )
    assert normed.decoder.steps[0][0].conv.bias is None


@pytest.mark.parametrize("name", HEADS)
def test_two_classes_are_a_softmax_of_two(name, recwarn):
    head = HEADS[name][0](num_classes=2, loss_decode=CE)
    assert head.out_channels == head.conv_seg.out_channels == 2
    assert not [w for w in recwarn if "out_channels" in str(w.message)]


def make_maps(channels, size=(32, 32)):
    return [
        torch.randn(2, c, size[0] // 2**i, size[1] // 2**i)
        for i, c in enumerate(channels)
    ]


def make_head(**options):
    options = {"num_classes": 6, "loss_decode": CE, **options}
    return UNetHead([8, 16, 24], [16, 8], **options)


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_shape_is_the_finest_maps(size, upsample):
    logits = make_head(upsample=upsample)(make_maps([8, 16, 24], size))
    assert logits.shape == (2, 6, *size)


def test_parameters_are_those_of_the_plain_trainer_family():
    head = UNetHead([64, 128, 256, 512, 512], [512, 256, 128, 64], num_classes=6)
    pairs = ((1024, 512), (768, 256), (384, 128), (192, 64))
    count = 6 * (64 + 1)
    for inward, outward in pairs:
        count += outward * (inward * 9 + 1) + outward * (outward * 9 + 1)
    assert sum(p.numel() for p in head.parameters()) == count


@pytest.mark.parametrize(
    ("upsample", "align_corners"),
    [("nearest", False), ("bilinear", False), ("bilinear", True)],
)
def test_value_against_plain_torch(upsample, align_corners):
    torch.manual_seed(0)
    channels = [8, 16, 24]
    decoder = UNetDecoder(
        channels, [16, 8], upsample=upsample, align_corners=align_corners
    )
    maps = make_maps(channels)
    convs = [m for m in decoder.modules() if isinstance(m, nn.Conv2d)]
    corners = {} if upsample == "nearest" else {"align_corners": align_corners}
    enlarge = nn.Upsample(scale_factor=2, mode=upsample, **corners)
    x = maps[2]
    for step, skip in enumerate((maps[1], maps[0])):
        x = torch.cat([skip, enlarge(x)], 1)
        for conv in convs[2 * step : 2 * step + 2]:
            x = torch.relu(nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))
    torch.testing.assert_close(decoder(maps), x, atol=1e-6, rtol=0)


def test_grad_reaches_every_parameter_and_map():
    maps = [m.requires_grad_() for m in make_maps([8, 16, 24])]
    head = make_head(final_upsample=2)
    logits = head(maps)
    assert logits.shape == (2, 6, 64, 64)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    assert all(m.grad.abs().sum() > 0 for m in maps)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_bfloat16_channels_last_trains(upsample):
    torch.manual_seed(0)
    maps = make_maps([8, 16, 24])
    head = make_head(upsample=upsample, loss_decode={"type": "leuko_mm.FocalDiceLoss"})
    plain = head(maps)
    head = head.to(memory_format=torch.channels_last)
    maps = [m.to(memory_format=torch.channels_last) for m in maps]
    samples = []
    for _ in range(2):
        labels = PixelData(data=torch.randint(0, 6, (1, 32, 32)))
        samples.append(SegDataSample(gt_sem_seg=labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(maps)
        losses = head.loss(maps, samples, None)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), plain, atol=0.05, rtol=0.05)
    losses["loss_focal_dice"].backward()
    assert head.decoder.steps[0][0].conv.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [16]}, "one decoder width for each skip"),
        ({"upsample": "cubic"}, "upsample='cubic'"),
        ({"final_upsample": 0}, "final_upsample=0"),
    ],
)
def test_the_decoder_raises(options, message):
    with pytest.raises(ValueError, match=message):
        UNetDecoder(**{"in_channels": [8, 16, 24], "channels": [16, 8], **options})


def test_raises_on_a_missing_map():
    with pytest.raises(ValueError, match="got 2 maps and was built for 3"):
        UNetDecoder([8, 16, 24], [16, 8])(make_maps([8, 16]))
