"""The gradients of every convolution as it is trained, against float32."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from shipped_configs import METHODS, resolved
from torch import Tensor, nn

from leuko_mm.engine.optim import ChannelsLastHook, bfloat16_helps
from leuko_mm.registry import MODELS

BATCH, SIZE = 4, 256


def trained_as_shipped(name: str) -> nn.Module:
    config = copy.deepcopy(resolved(name, "half").model)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config).train()
    ChannelsLastHook().before_run(SimpleNamespace(model=model))
    return model


def run_once(model: nn.Module) -> dict[tuple, tuple[nn.Module, Tensor]]:
    """Return each kind of convolution of a training step, and an input of it."""
    found = {}

    def note(layer, inputs):
        found.setdefault((repr(layer), inputs[0].shape), (layer, inputs[0].detach()))

    hooks = [
        layer.register_forward_pre_hook(note)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 6, (BATCH, 1, SIZE, SIZE))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.loss(images, samples)
    for hook in hooks:
        hook.remove()
    return found


def gradients(layer: nn.Module, image: Tensor, factor: Tensor | None, *, half: bool):
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        maps = layer(image)
    if factor is None:
        factor = torch.randn_like(maps)
    (maps * factor.to(maps.dtype)).sum().backward()
    return factor, [image.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_convolution_has_the_gradients_of_float32(name):
    if not bfloat16_helps("cpu"):
        pytest.skip("this processor does not multiply bfloat16")
    torch.manual_seed(0)
    wrong = {}
    for kind, (layer, image) in run_once(trained_as_shipped(name)).items():
        layer.requires_grad_(True)
        layer.zero_grad()
        image = image.bfloat16().float()
        layer.weight.data = layer.weight.data.bfloat16().float()
        plain = copy.deepcopy(layer).to(memory_format=torch.contiguous_format)
        plain.__class__ = nn.Conv2d
        factor, found = gradients(layer, image, None, half=True)
        _, expected = gradients(plain, image.contiguous(), factor, half=False)
        differences = [
            float((one - other).norm() / other.norm().clamp(min=1e-6))
            for one, other in zip(found, expected, strict=True)
        ]
        if max(differences) > 0.02:
            wrong[kind] = differences
    assert not wrong
