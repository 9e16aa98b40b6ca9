"""Soft Dice: values by hand and by loops, over a batch and over processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from leuko_mm.losses import soft_dice_loss
from leuko_mm.losses.ignored import split_ignored

IGNORE = 255


def make_batch(labels=(0, 1, 3, 5), size=(2, 12, 15), ignored=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], 6, *size[1:], generator=generator) * 3
    target = torch.tensor(labels)[
        torch.randint(0, len(labels), size, generator=generator)
    ]
    target[torch.rand(size, generator=generator) < ignored] = IGNORE
    return logits, target


def numpy_dice_loss(logits, target, smooth, absent, include_background):
    """Class by class, pixel list by pixel list, in double precision."""
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1]).double().numpy()
    labels = target.flatten().numpy()
    rows, labels = rows[labels != IGNORE], labels[labels != IGNORE]
    probs = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    losses = []
    for c in range(logits.shape[1]):
        own = labels == c
        if (c == 0 and not include_background) or (
            absent == "ignore" and not own.any()
        ):
            continue
        overlap = probs[own, c].sum()
        dice = (2 * overlap + smooth) / (probs[:, c].sum() + own.sum() + smooth)
        losses.append(1 - dice)
    return np.mean(losses)


@pytest.mark.parametrize("absent", ["ignore", "smooth"])
@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("smooth", [1e-5, 1.0])
def test_value_against_numpy_loops(absent, include_background, smooth):
    options = {
        "absent": absent,
        "include_background": include_background,
        "smooth": smooth,
    }
    logits, target = make_batch()
    loss = soft_dice_loss(logits, target, **options)
    expected = numpy_dice_loss(logits, target, **options)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_value_by_hand():
    # two pixels, even odds: for either class I = 0.5, P = 1, T = 1
    target = torch.tensor([[0, 1]])
    loss = soft_dice_loss(torch.zeros(1, 2, 2), target, smooth=1e-9)
    assert loss.item() == pytest.approx(0.5, abs=1e-7)


def test_shape_any_number_of_dimensions():
    logits, target = make_batch()
    flat = soft_dice_loss(logits.flatten(2), target.flatten(1))
    volume = soft_dice_loss(logits.unflatten(2, (3, 4)), target.unflatten(1, (3, 4)))
    torch.testing.assert_close(flat, volume)


def test_limits_sums_run_over_the_batch():
    logits, target = make_batch()
    joined = soft_dice_loss(
        torch.cat(list(logits), dim=1).unsqueeze(0),
        torch.cat(list(target)).unsqueeze(0),
    )
    torch.testing.assert_close(soft_dice_loss(logits, target), joined)


def test_grad_agrees_with_finite_differences():
    logits, target = make_batch(size=(1, 2, 3), ignored=0)
    x = logits.double().requires_grad_()
    (grad,) = torch.autograd.grad(soft_dice_loss(x, target), x)
    step = 1e-4
    for index in ((0, 0, 0, 0), (0, 2, 1, 1), (0, 5, 1, 2)):
        moved = []
        for sign in (1, -1):
            y = logits.double()
            y[index] += sign * step
            moved.append(numpy_dice_loss(y, target, 1e-5, "ignore", True))
        slope = (moved[0] - moved[1]) / (2 * step)
        assert grad[index].item() == pytest.approx(slope, abs=1e-5)


def test_raises_on_an_unknown_policy():
    with pytest.raises(ValueError, match="absent='drop'"):
        soft_dice_loss(*make_batch(), absent="drop")


def joint_batch():
    """Two images with different classes: each half alone gives another loss."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    target = torch.randint(0, 2, (2, 8, 8), generator=generator)
    target[1] += 3
    target[1, :3] = IGNORE
    return images, target


def make_net():
    torch.manual_seed(2)
    return torch.nn.Conv2d(3, 6, 3, padding=1)


def train_one_part(rank, init_file, results):
    distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    images, target = joint_batch()
    net = DistributedDataParallel(make_net())
    loss = soft_dice_loss(net(images[rank : rank + 1]), target[rank : rank + 1])
    loss.backward()
    torch.save((loss.detach(), net.module.weight.grad), f"{results}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_value_and_gradient_of_the_joint_batch(tmp_path):
    images, target = joint_batch()
    net = make_net()
    whole = soft_dice_loss(net(images), target)
    whole.backward()
    part = soft_dice_loss(net(images[:1]), target[:1])
    assert abs(part.item() - whole.item()) > 0.01
    multiprocessing.spawn(
        train_one_part, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=2
    )
    for rank in range(2):
        loss, grad = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(loss, whole.detach(), atol=1e-6, rtol=0)
        torch.testing.assert_close(grad, net.weight.grad, atol=1e-6, rtol=0)


def test_split_ignored():
    logits = torch.full((1, 2, 3), 7.0, dtype=torch.bfloat16)
    target = torch.tensor([[0, 255, 1]], dtype=torch.uint8)
    clean, labels, valid = split_ignored(logits, target, 255)
    assert clean.dtype == torch.float32
    assert clean.tolist() == [[[7, 0, 7], [7, 0, 7]]]
    assert labels.tolist() == [[0, 0, 1]]
    assert labels.dtype == torch.int64
    assert valid.tolist() == [[True, False, True]]


def test_split_ignored_with_nothing_ignored_and_empty():
    _, _, valid = split_ignored(torch.zeros(1, 2, 3), torch.ones(1, 3), None)
    assert valid.all()
    clean, _, _ = split_ignored(torch.zeros(0, 2, 3), torch.zeros(0, 3), 255)
    assert clean.shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("label", "message"),
    [(6, "label 6, but the logits have classes 0 to 5"), (-1, "label -1")],
)
def test_raises_on_a_label_without_a_channel(label, message):
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    target[1, 2, 3] = label
    with pytest.raises(ValueError, match=message):
        split_ignored(torch.zeros(2, 6, 4, 4), target, 255)


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        ((2, 6, 4, 4), (2, 4, 5), r"\(2, 6, 4, 4\) and a target of shape \(2, 4, 5\)"),
        ((2, 6, 4, 4), (2, 1, 4, 4), r"target of shape \(2, 1, 4, 4\)"),
        ((2, 1, 4, 4), (2, 4, 4), "at least two classes"),
    ],
)
def test_raises_on_shapes(logits, target, message):
    with pytest.raises(ValueError, match=message):
        split_ignored(torch.zeros(logits), torch.zeros(target, dtype=torch.long), 255)
