"""Weight gradients of dilated convolutions in groups, such as those of DeepLabv3+.

On a CPU with bfloat16, oneDNN's weight gradients of these convolutions are wrong in
bfloat16 channels-last, in maps of 31 columns and more: they change from call to call,
and some are 10^18 and more (torch 2.13.0, AVX-512). In float32 they are right and slow.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from mmcv.cnn.bricks.wrappers import Conv2d as MMCVConv2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input

Pair = tuple[int, int]


def weight_gradient(
    inputs: Tensor,
    gradient: Tensor,
    kernel_size: Pair,
    *,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return the gradient of a convolution of stride 1 with respect to its weights.

    All sums are in float32.

    Args:
        inputs: what the convolution was given.
        gradient: of the loss, with respect to what the convolution returned.
        kernel_size: rows and columns of the kernel.
        padding: zeros on each side, by rows and columns of the image.
        dilation: distance of the kernel's entries, by rows and columns of the image.
        groups: equal parts of the channels, each convolved alone.

    Shape:
        inputs (B, C, H, W), gradient (B, D, H', W') to (D, C / groups, rows, columns).
    """
    result = inputs.new_zeros(
        gradient.shape[1], inputs.shape[1] // groups, *kernel_size, dtype=torch.float32
    )
    # (B, groups, channels of a group, H, W)
    inputs = inputs.float().unflatten(1, (groups, -1))
    gradient = gradient.float().unflatten(1, (groups, -1))
    depthwise = inputs.shape[2] == gradient.shape[2] == 1
    sizes, sizes_out = inputs.shape[3:], gradient.shape[3:]
    for row, column in product(*map(range, kernel_size)):
        y, y_out = _overlap(row * dilation[0] - padding[0], sizes[0], sizes_out[0])
        x, x_out = _overlap(column * dilation[1] - padding[1], sizes[1], sizes_out[1])
        seen, factor = inputs[..., y, x], gradient[..., y_out, x_out]
        if depthwise:
            sums = (seen * factor).sum((0, 3, 4))
        else:
            sums = torch.einsum("bgihw,bgohw->goi", seen, factor).flatten(0, 1)
        result[:, :, row, column] = sums
    return result


def _overlap(offset: int, size: int, size_out: int) -> tuple[slice, slice]:
    """Return the places in input and output where both of i + offset and i exist."""
    start = max(0, -offset)
    stop = max(start, min(size_out, size - offset))
    return slice(start + offset, stop + offset), slice(start, stop)


class _Convolution(torch.autograd.Function):
    """``conv2d`` whose weight gradient is ``weight_gradient``."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.options = dict(padding=padding, dilation=dilation, groups=groups)
        return functional.conv2d(inputs, weight, **ctx.options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        to_inputs = to_weight = None
        if ctx.needs_input_grad[0]:
            to_inputs = conv2d_input(inputs.shape, weight, gradient, **ctx.options)
        if ctx.needs_input_grad[1]:
            to_weight = weight_gradient(
                inputs, gradient, weight.shape[2:], **ctx.options
            ).to(weight.dtype)
        return to_inputs, to_weight, None, None, None


class DilatedConv2d(nn.Conv2d):
    """A convolution in groups that trains with the gradients of ``weight_gradient``."""

    def _conv_forward(
        self, image: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            image, weight = image.to(dtype), weight.to(dtype)
        maps = _Convolution.apply(
            image, weight, self.padding, self.dilation, self.groups
        )
        return maps if bias is None else maps + bias.to(maps.dtype).view(-1, 1, 1)


def own_weight_gradients(model: nn.Module) -> list[str]:
    """Make the dilated convolutions in groups of a model on a CPU ``DilatedConv2d``.

    Weights, their names and the forward pass stay as they are.

    Returns:
        the names of the convolutions.
    """
    names = []
    for name, module in model.named_modules():
        if (
            type(module) in (nn.Conv2d, MMCVConv2d)
            and module.weight.device.type == "cpu"
            and module.groups > 1
            and max(module.dilation) > 1
            and module.stride == (1, 1)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = DilatedConv2d
            names.append(name)
    return names
