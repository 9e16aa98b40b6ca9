"""Focal and Dice loss: values by hand and by loops, limits, ignored pixels."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leuko_mm.losses import FocalDiceLoss, softmax_focal_loss

IGNORE = 255


def make_batch(classes=6, size=(2, 12, 15), ignored=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], classes, *size[1:], generator=generator) * 3
    target = torch.randint(0, classes, size, generator=generator)
    target[torch.rand(size, generator=generator) < ignored] = IGNORE
    return logits, target


def confident(target, classes):
    """Logits of +5 for the right class and -5 for the others."""
    return F.one_hot(target, classes).movedim(-1, 1).float() * 10 - 5


def test_shape_is_a_float32_scalar_under_autocast():
    logits, target = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = FocalDiceLoss()(logits.bfloat16(), target)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    expected = FocalDiceLoss()(logits.bfloat16().float(), target)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)


def test_focal_value_by_hand():
    logits = torch.tensor([[2.0, 0.0, -1.0]]).view(1, 3, 1, 1)
    exponentials = [math.exp(v) for v in (2, 0, -1)]
    p = exponentials[1] / sum(exponentials)
    expected = -0.7 * (1 - p) ** 1.5 * math.log(p)
    target = torch.ones(1, 1, 1, dtype=torch.long)
    loss = softmax_focal_loss(logits, target, gamma=1.5, alpha=[0.1, 0.7, 0.2])
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.5, [1.0, 0.5, 2.0, 0.1, 0.0, 3.0]])
def test_focal_value_against_numpy_loops(gamma, alpha):
    logits, target = make_batch()
    factors = np.broadcast_to(1.0 if alpha is None else alpha, 6)
    total = count = 0
    rows = logits.movedim(1, -1).reshape(-1, 6).double().numpy()
    for row, label in zip(rows, target.flatten().tolist(), strict=True):
        if label != IGNORE:
            p = np.exp(row[label]) / np.exp(row).sum()
            total -= factors[label] * (1 - p) ** gamma * np.log(p)
            count += 1
    loss = softmax_focal_loss(logits, target, gamma=gamma, alpha=alpha)
    assert loss.item() == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 6])
def test_limits_gamma_zero_is_cross_entropy(classes):
    logits, target = make_batch(classes)
    pair = []
    for loss in (
        lambda x: softmax_focal_loss(x, target, gamma=0),
        lambda x: F.cross_entropy(x, target, ignore_index=IGNORE),
    ):
        x = logits.clone().requires_grad_()
        value = loss(x)
        value.backward()
        pair.append((value.detach(), x.grad))
    torch.testing.assert_close(*pair, atol=1e-6, rtol=0)


def test_limits_weights_select_the_terms():
    logits, target = make_batch()
    both = FocalDiceLoss(dice_weight=2.0, focal_weight=3.0, loss_weight=0.5)
    focal, dice = FocalDiceLoss(dice_weight=0), FocalDiceLoss(focal_weight=0)
    expected = 0.5 * (3 * focal(logits, target) + 2 * dice(logits, target))
    torch.testing.assert_close(both(logits, target), expected)


def test_limits_right_and_certain_is_cheap_when_classes_are_absent():
    target = torch.tensor([0, 1, 3, 5]).repeat_interleave(64).view(1, 16, 16)
    loss = FocalDiceLoss()(confident(target, 6), target)
    assert 0 <= loss.item() < 0.05
    trainers_form = FocalDiceLoss(absent="smooth")(confident(target, 6), target)
    assert trainers_form.item() == pytest.approx(1 / 3, abs=0.01)  # two of six absent


def test_limits_an_absent_class_more_changes_nothing():
    target = torch.tensor([0, 1, 3, 5]).repeat_interleave(64).view(1, 16, 16)
    logits = confident(target, 6)
    more = torch.cat((logits, torch.full((1, 1, 16, 16), -5.0)), dim=1)
    loss = FocalDiceLoss()
    assert abs(loss(more, target).item() - loss(logits, target).item()) < 1e-3


def test_limits_probability_for_an_absent_class_is_punished():
    target = torch.zeros(1, 8, 8, dtype=torch.long)
    right = confident(target, 3)
    wrong = right.clone()
    wrong[:, 2, :4] = 9.0
    for loss in (FocalDiceLoss(), FocalDiceLoss(focal_weight=0)):
        assert loss(wrong, target) > loss(right, target) + 0.2


@pytest.mark.parametrize("absent", ["ignore", "smooth"])
@pytest.mark.parametrize("fill", [0.0, float("nan")])
def test_limits_all_ignored_is_zero_and_still_on_the_graph(absent, fill):
    logits = torch.full((1, 6, 4, 4), fill, requires_grad=True)
    loss = FocalDiceLoss(absent=absent)(logits, torch.full((1, 4, 4), IGNORE))
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("absent", ["ignore", "smooth"])
@pytest.mark.parametrize("junk", [50.0, float("nan"), float("inf")])
def test_ignored_pixels_change_neither_value_nor_gradient(absent, junk):
    logits, target = make_batch()
    ignored = (target == IGNORE).unsqueeze(1).expand_as(logits)
    loss = FocalDiceLoss(gamma=0.5, alpha=0.5, absent=absent)
    results = []
    for x in (logits.clone(), logits.masked_fill(ignored, junk)):
        x.requires_grad_()
        value = loss(x, target)
        value.backward()
        results.append((value.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[0][1][ignored].abs().max() == 0


def test_the_weight_of_an_ignored_pixel_may_be_anything():
    logits, target = make_batch()
    weight = torch.rand(target.shape)
    odd = weight.masked_fill(target == IGNORE, float("nan"))
    loss = FocalDiceLoss()
    assert torch.equal(loss(logits, target, odd), loss(logits, target, weight))


def test_ignore_index_is_that_of_the_call():
    logits, target = make_batch()
    loss = FocalDiceLoss()
    other = torch.where(target == IGNORE, -100, target)
    value = loss(logits, other, ignore_index=-100)
    torch.testing.assert_close(value, loss(logits, target))
    with pytest.raises(ValueError, match="label -100"):
        loss(logits, other)


def test_pixel_weights_of_zero_and_one():
    logits, target = make_batch()
    loss = FocalDiceLoss()
    ones = torch.ones(target.shape)
    torch.testing.assert_close(loss(logits, target, ones), loss(logits, target))
    half = ones.clone()
    half[:, :6] = 0
    kept = torch.where(half > 0, target, IGNORE)
    count = (kept != IGNORE).sum().item()
    weighted = loss(logits, target, half, avg_factor=count)
    torch.testing.assert_close(weighted, loss(logits, kept))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("margin", [1e-4, 8.0, 17.0, 40.0, 200.0])
def test_grad_is_finite_however_certain(gamma, margin):
    logits = torch.tensor([margin, 0.0]).view(1, 2, 1, 1).requires_grad_()
    for label in (0, 1):
        loss = softmax_focal_loss(logits, torch.full((1, 1, 1), label), gamma=gamma)
        (grad,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(grad).all()
        assert loss >= 0


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_grad_against_double_precision_by_hand(gamma):
    # d/dz of -(1-p)^g log p for two classes, z the margin: p = sigmoid(z)
    for z in (-3.0, 0.5, 6.0):  # beyond, float32's log_softmax is coarser than rel
        logits = torch.tensor([z, 0.0]).view(1, 2, 1, 1).requires_grad_()
        loss = softmax_focal_loss(
            logits, torch.zeros(1, 1, 1, dtype=torch.long), gamma=gamma
        )
        loss.backward()
        miss = 1 / (1 + math.exp(z))
        p = 1 - miss
        expected = miss**gamma * (gamma * p * math.log(p) - miss)
        assert logits.grad[0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_name": "focal_dice"}, "begin with 'loss_'"),
        ({"absent": "skip"}, "absent='skip'"),
        ({"smooth": 0.0}, "smooth=0.0; give more than 0"),
        ({"dice_weight": 0, "focal_weight": 0}, "nothing is left"),
    ],
)
def test_raises_on_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        FocalDiceLoss(**options)


def test_raises_on_wrong_calls():
    logits, target = make_batch()
    with pytest.raises(ValueError, match="gamma=-1"):
        softmax_focal_loss(logits, target, gamma=-1)
    with pytest.raises(ValueError, match="for 6 classes"):
        softmax_focal_loss(logits, target, alpha=[0.5, 0.5])
    with pytest.raises(ValueError, match="reduction_override='none'"):
        FocalDiceLoss()(logits, target, reduction_override="none")
