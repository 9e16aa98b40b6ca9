"""Parts are compiled where they stand: weights, names and the loss's way stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from leuko_mm.engine.compiled_parts import compile_parts


class Head(nn.Linear):
    def loss(self, maps):
        # As mmseg's heads: the forward pass by name.
        return self.forward(maps).sum()


class Segmentor(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.decode_head = nn.Linear(3, 4), Head(4, 2)
        self.neck = None

    def forward(self, image):
        return self.decode_head.loss(self.backbone(image))


@pytest.fixture
def calls(monkeypatch):
    """Stand in for the compiler, which takes minutes; return what it was called for."""
    called = []

    def compiled(function, *, dynamic):
        def call(*inputs):
            called.append((function.__self__, dynamic))
            return function(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    return called


def test_a_step_goes_through_the_compiled_parts(calls):
    model = Segmentor()
    names = list(model.state_dict())
    image = torch.ones(1, 3)
    expected = model(image)
    assert compile_parts(model) == ["backbone", "decode_head"]
    assert not calls
    assert torch.equal(model(image), expected)
    assert calls == [(model.backbone, False), (model.decode_head, False)]
    assert list(model.state_dict()) == names
