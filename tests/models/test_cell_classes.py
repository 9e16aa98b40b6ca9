"""The class network: encoder without norms, white background, pooled head."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from leuko_mm.engine.encoder_weights import LITE0_EPSILON, folded
from leuko_mm.models.cell_class_head import CellClassHead
from leuko_mm.models.efficientnet_lite import (
    MEAN,
    STD,
    EfficientNetLite,
    blocks,
    white_scaled,
)
from leuko_mm.registry import MODELS


def published() -> dict[str, torch.Tensor]:
    """Draw weights with the names and shapes of the published ones."""
    torch.manual_seed(0)
    tensors = {}

    def convolution(name, norm, shape):
        tensors[f"{name}.weight"] = torch.randn(shape) / np.prod(shape[1:]) ** 0.5
        channels = shape[0]
        tensors[f"{norm}.weight"] = torch.rand(channels) + 0.5
        tensors[f"{norm}.bias"] = torch.randn(channels) * 0.1
        tensors[f"{norm}.running_mean"] = torch.randn(channels) * 0.1
        tensors[f"{norm}.running_var"] = torch.rand(channels) + 0.5
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    convolution("_conv_stem", "_bn0", (32, 3, 3, 3))
    for i, block in enumerate(blocks()):
        own, wide = f"_blocks.{i}", block.inputs * block.expansion
        if block.expansion > 1:
            shape = (wide, block.inputs, 1, 1)
            convolution(f"{own}._expand_conv", f"{own}._bn0", shape)
        shape = (wide, 1, block.kernel, block.kernel)
        convolution(f"{own}._depthwise_conv", f"{own}._bn1", shape)
        convolution(f"{own}._project_conv", f"{own}._bn2", (block.outputs, wide, 1, 1))
    convolution("_conv_head", "_bn1", (1280, 320, 1, 1))
    tensors["_fc.weight"] = torch.zeros(1000, 1280)
    return tensors


def with_norms(images: torch.Tensor, tensors) -> torch.Tensor:
    """Run the published network, norm by norm."""

    def step(x, name, norm, stride=1, groups=1):
        weight = tensors[f"{name}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        found = (tensors[f"{norm}.{key}"] for key in keys)
        return F.batch_norm(x, *found, training=False, eps=LITE0_EPSILON)

    x = F.relu6(step(images, "_conv_stem", "_bn0", 2))
    for i, block in enumerate(blocks()):
        own, y = f"_blocks.{i}", x
        if block.expansion > 1:
            y = F.relu6(step(y, f"{own}._expand_conv", f"{own}._bn0"))
        wide = block.inputs * block.expansion
        depthwise = (f"{own}._depthwise_conv", f"{own}._bn1", block.stride, wide)
        y = F.relu6(step(y, *depthwise))
        y = step(y, f"{own}._project_conv", f"{own}._bn2")
        x = x + y if y.shape == x.shape else y
    return x


def test_folded_weights_give_the_features_of_the_network_with_norms():
    tensors = published()
    encoder = EfficientNetLite(white_balance=False).eval()
    encoder.load_state_dict(folded(tensors))
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        (found,) = encoder(images)
        mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
        wanted = with_norms((images - mean) / std, tensors)
    assert found.shape == (2, 320, 2, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_folding_another_network_is_refused():
    with pytest.raises(KeyError):
        folded({"features.0.weight": torch.zeros(1)})


def test_the_light_of_an_image_changes_nothing():
    images = torch.rand(2, 3, 32, 32) * 0.5
    images[:, :, :8, :8] = 0.9  # background
    light = torch.tensor([0.8, 1.0, 0.6]).view(1, 3, 1, 1)
    torch.testing.assert_close(white_scaled(images * light), white_scaled(images))
    assert white_scaled(images)[:, :, :8, :8].mean().item() == pytest.approx(0.96)


def test_a_black_image_stays_black():
    assert white_scaled(torch.zeros(1, 3, 16, 16)).max() == 0


def head(**more) -> CellClassHead:
    torch.manual_seed(0)
    return CellClassHead(4, num_classes=6, align_corners=False, **more)


def test_every_place_has_the_logits_of_the_pooled_features():
    part = head().eval()
    features = torch.randn(2, 4, 3, 5)
    logits = part((torch.zeros(1), features))
    pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
    wanted = pooled @ part.linear.weight.T + part.linear.bias
    assert logits.shape == (2, 6, 3, 5)
    for y, x in ((0, 0), (2, 4)):
        torch.testing.assert_close(logits[:, :, y, x], wanted)


def test_the_loss_of_a_cell_is_that_of_its_class():
    network = MODELS.build(
        dict(
            type="EncoderDecoder",
            _scope_="mmseg",
            backbone=dict(type="leuko_mm.EfficientNetLite"),
            decode_head=dict(
                type="leuko_mm.CellClassHead",
                in_channels=320,
                num_classes=6,
                align_corners=False,
                dropout_ratio=0.0,
                loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
            ),
        )
    ).train()
    images, truth = torch.rand(3, 3, 64, 64), torch.tensor([0, 2, 5])
    logits = network.encode_decode(images, [dict(img_shape=(64, 64))] * 3)
    labels = truth[:, None, None].expand(3, 64, 64)
    head = network.decode_head
    seg = [
        type("Sample", (), {"gt_sem_seg": type("Map", (), {"data": one[None]})()})()
        for one in labels
    ]
    losses = head.loss_by_feat(head(network.extract_feat(images)), seg)
    wanted = nn.functional.cross_entropy(logits[:, :, 0, 0], truth)
    torch.testing.assert_close(losses["loss_ce"], wanted, rtol=1e-4, atol=1e-5)
    losses["loss_ce"].backward()
    assert all(p.grad is not None for p in network.parameters())
