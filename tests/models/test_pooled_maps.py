"""Means and maxima beside their map: autograd's numbers, with fewer passes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from leuko_mm.models.pooled_maps import over_channels, over_positions


def usual_positions(x):
    return x, x.mean(dim=(2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)


def usual_channels(x):
    return x, x.mean(dim=1), x.amax(dim=1)


PAIRS = [(over_positions, usual_positions), (over_channels, usual_channels)]
BOTH = pytest.mark.parametrize(("ours", "usual"), PAIRS)
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(dtype=torch.float64, layout=torch.contiguous_format):
    x = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    # Zeros in plenty, as behind a ReLU: equal maxima.
    x = (x - 1.2).relu().to(dtype).contiguous(memory_format=layout)
    return x.requires_grad_()


def answers(function, x):
    """Return the three results, and the gradient of a sum that weighs them all."""
    found = function(x)
    drawing = torch.Generator().manual_seed(1)
    weights = [torch.randn(f.shape, generator=drawing).to(f.dtype) for f in found]
    total = sum((f * w).sum() for f, w in zip(found, weights, strict=True))
    (gradient,) = torch.autograd.grad(total, x)
    return [*found, gradient]


@BOTH
@pytest.mark.parametrize("layout", LAYOUTS)
def test_results_and_gradients_are_those_of_autograd(ours, usual, layout):
    x = drawn(layout=layout)
    assert (x == 0).all(dim=1).any()
    for found, expected in zip(answers(ours, x), answers(usual, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@BOTH
def test_gradients_of_bfloat16_are_right_to_its_rounding(ours, usual):
    x = drawn(torch.bfloat16, torch.channels_last)
    expected = answers(usual, x.detach().double().requires_grad_())
    for found, right in zip(answers(ours, x), expected, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), right, rtol=2e-2, atol=2e-2)


@BOTH
def test_a_mean_of_float16_does_not_leave_its_range(ours, usual):
    x = torch.full((1, 64, 64, 64), 60.0, dtype=torch.float16, requires_grad=True)
    _, mean, _ = ours(x)
    assert torch.equal(mean, torch.full_like(mean, 60.0))


@BOTH
def test_only_one_gradient_as_large_as_the_map_is_made(ours, usual):
    x = drawn()
    assert len(added(ours, x)) < len(added(usual, x))


def added(function, x):
    """Return the additions of whole maps in a pass back."""
    found = function(x)
    total = sum(f.square().sum() for f in found)
    with torch.profiler.profile(record_shapes=True) as profile:
        total.backward()
    names = ("aten::add", "aten::add_", "aten::div")
    whole = [list(x.shape)]
    return [
        e for e in profile.events() if e.name in names and e.input_shapes[:1] == whole
    ]


@BOTH
def test_what_is_not_trained_takes_the_usual_operations(ours, usual):
    x = drawn()
    with torch.no_grad():
        results = ours(x)
    assert all(found.grad_fn is None for found in results)
    for found, expected in zip(results, usual(x), strict=True):
        assert torch.equal(found, expected)
    frozen = ours(x.detach())
    assert not any(found.requires_grad for found in frozen)


@BOTH
def test_gradient_of_a_gradient_is_refused(ours, usual):
    x = drawn()
    (first,) = torch.autograd.grad(ours(x)[1].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@BOTH
def test_shapes_are_found_without_values(ours, usual):
    x = torch.empty(2, 6, 5, 7, device="meta", requires_grad=True)
    assert [f.shape for f in ours(x)] == [f.shape for f in usual(x)]
    sum(f.sum() for f in ours(x)).backward()
    assert x.grad.shape == x.shape


@BOTH
def test_autocast_leaves_a_map_as_it_is(ours, usual):
    x = drawn(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert [f.dtype for f in ours(x)] == [torch.bfloat16] * 3
