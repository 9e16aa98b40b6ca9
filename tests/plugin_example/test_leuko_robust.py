import numpy as np
import pytest
import torch
from leuko_robust import (
    GeneralisedCrossEntropy,
    GreyWorld,
    generalised_cross_entropy,
    grey_world,
)
from torch.nn import functional as F

from leuko_mm.registry import MODELS, TRANSFORMS


def make_batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 5, 7, generator=generator)
    target = torch.randint(0, 6, (2, 5, 7), generator=generator)
    target[0, :2] = 255
    return logits, target


def test_shape():
    assert GeneralisedCrossEntropy()(*make_batch()).shape == ()
    image = np.zeros((4, 6, 3), np.uint8)
    assert grey_world(image).shape == image.shape


def test_value_by_hand():
    logits = torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1)
    loss = generalised_cross_entropy(logits, torch.zeros(1, 1, 1), q=0.5)
    assert loss.item() == pytest.approx((1 - 0.25**0.5) / 0.5)
    pixels = np.array([[[30, 60, 90], [50, 100, 150]]], np.uint8)
    # Channel means 40, 80, 120: gains 2, 1, 2/3.
    assert grey_world(pixels).tolist() == [[[60, 60, 60], [100, 100, 100]]]


def test_limits_q_zero_is_cross_entropy():
    logits, target = make_batch()
    loss = generalised_cross_entropy(logits, target, q=0.0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, ignore_index=255))


def test_limits_all_ignored_is_zero():
    logits, target = make_batch()
    assert generalised_cross_entropy(logits, torch.full_like(target, 255)) == 0


def test_ignored_pixels_change_neither_value_nor_gradient():
    logits, target = make_batch()
    junk = logits.clone()
    junk[0, :, :2] = float("nan")
    values = []
    for x in (logits, junk):
        x.requires_grad_()
        loss = generalised_cross_entropy(x, target)
        loss.backward()
        values.append((loss.detach(), x.grad))
    torch.testing.assert_close(*values)


def test_grad_against_finite_differences():
    logits, target = make_batch()
    logits = logits.requires_grad_()
    generalised_cross_entropy(logits, target).backward()
    step = torch.zeros_like(logits)
    step[1, 2, 3, 4] = 1e-2
    with torch.no_grad():
        up = generalised_cross_entropy(logits + step, target)
        down = generalised_cross_entropy(logits - step, target)
    slope = (up - down).item() / 2e-2
    assert logits.grad[1, 2, 3, 4].item() == pytest.approx(slope, rel=0.02)


def test_raises():
    with pytest.raises(ValueError, match="q=2"):
        GeneralisedCrossEntropy(q=2)


def test_registry():
    loss = MODELS.build(dict(type="leuko_mm.GeneralisedCrossEntropy", q=0.5))
    assert isinstance(loss, GeneralisedCrossEntropy)
    assert isinstance(TRANSFORMS.build(dict(type="leuko_mm.GreyWorld")), GreyWorld)
