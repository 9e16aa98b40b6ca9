"""A feature map beside its mean and its maximum, with one pass back instead of many.

Left to autograd, mean and maximum of a map each make a gradient as large as the map,
partly in float32, which are then added to the map's own: two thirds of what attention
costs in a training step on a CPU. Here both are added to the map's own gradient where
it is. Forward, and for a network that is not trained, they are the usual operations.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

COMPUTE = ("cpu", "cuda")


def over_positions(
    x: Tensor, *, one_pass: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a map, and the mean and the maximum of each of its channels.

    The first of several equal maxima takes the gradient, as in ``F.max_pool2d``.

    Args:
        x: what is returned first, to be used instead of it.
        one_pass: False leaves the way back to autograd.

    Shape:
        (B, C, H, W) -> (B, C, H, W), (B, C), (B, C).

    Example:
        >>> _, mean, peak = over_positions(torch.tensor([[[[1.0, 2.0, 6.0]]]]))
        >>> mean.item(), peak.item()
        (3.0, 6.0)
    """
    if one_pass and _is_trained(x):
        return _OverPositions.apply(x)
    return x, x.mean(dim=(2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)


def over_channels(x: Tensor, *, one_pass: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return a map, and the mean and the maximum of its channels at each position.

    Equal maxima share the gradient evenly, as in ``torch.amax``.

    Args:
        x: what is returned first, to be used instead of it.
        one_pass: False leaves the way back to autograd.

    Shape:
        (B, C, H, W) -> (B, C, H, W), (B, H, W), (B, H, W).

    Example:
        >>> _, mean, peak = over_channels(torch.tensor([[[[1.0]], [[3.0]]]]))
        >>> mean.item(), peak.item()
        (2.0, 3.0)
    """
    if one_pass and _is_trained(x):
        return _OverChannels.apply(x)
    return x, x.mean(dim=1), x.amax(dim=1)


def _is_trained(x: Tensor) -> bool:
    # An exporter knows the usual operations, and not these.
    return torch.is_grad_enabled() and x.requires_grad and not torch.jit.is_tracing()


def _as_given(x: Tensor) -> AbstractContextManager:
    """Keep autocast, which would make float32 of a map before its mean, away."""
    kind = x.device.type
    # Maps without values, of the device "meta", know none.
    return torch.autocast(kind, enabled=False) if kind in COMPUTE else nullcontext()


def _mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    if x.dtype != torch.bfloat16:
        return x.mean(dim=dims)
    # On a CPU more than twice as fast as the mean, and no sum leaves its range.
    return x.sum(dim=dims) / math.prod(x.shape[dim] for dim in dims)


class _OverPositions(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor):
        with _as_given(x):
            mean = _mean(x, (2, 3))
            peak, where = F.adaptive_max_pool2d(x, 1, return_indices=True)
        ctx.save_for_backward(where.flatten(1))
        ctx.positions = x.shape[2:]
        return x.view_as(x), mean, peak.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_map: Tensor, of_mean: Tensor, of_peak: Tensor):
        (where,) = ctx.saved_tensors
        height, width = ctx.positions
        grad = of_map + (of_mean / (height * width))[:, :, None, None]
        image, channel = (
            torch.arange(count, device=grad.device) for count in where.shape
        )
        place = (image[:, None], channel[None], where // width, where % width)
        return grad.index_put_(place, of_peak.to(grad.dtype), accumulate=True)


class _OverChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor):
        with _as_given(x):
            mean, peak = _mean(x, (1,)), x.amax(dim=1)
        ctx.save_for_backward(x, peak)
        return x.view_as(x), mean, peak

    @staticmethod
    @once_differentiable
    def backward(ctx, of_map: Tensor, of_mean: Tensor, of_peak: Tensor):
        x, peak = ctx.saved_tensors
        # Straight into numbers: a map of truth values is slow to make and to turn.
        grad = torch.eq(x, peak[:, None], out=torch.empty_like(of_map))
        grad *= (of_peak / grad.sum(dim=1))[:, None]
        grad += of_map
        grad += (of_mean / x.shape[1])[:, None]
        return grad
