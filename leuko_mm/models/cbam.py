"""Convolutional block attention (CBAM), and the neck that puts it on the skips.

Left to autograd, mean and maximum of a map each make a gradient as large as the map,
partly in float32, which are then added to the map's own: two thirds of what attention
costs in a training step on a CPU. Here both are added to the map's own gradient in
place. Forward, and without gradients, they are the usual operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from leuko_mm.registry import MODELS

AUTOCAST_DEVICES = ("cpu", "cuda")
GATES = ("serial", "parallel", "channel", "spatial")


def over_positions(
    x: Tensor, *, one_pass: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a map, and the mean and the maximum of each of its channels.

    The first of several equal maxima takes the gradient, as in ``F.max_pool2d``.

    Use the returned map instead of ``x``. Without ``one_pass`` the backward pass is
    autograd's.

    Shape:
        (B, C, H, W) -> (B, C, H, W), (B, C), (B, C).
    """
    if one_pass and _is_trained(x):
        return _OverPositions.apply(x)
    return x, x.mean(dim=(2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)


def over_channels(x: Tensor, *, one_pass: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return a map, and the mean and the maximum of its channels at each position.

    Equal maxima share the gradient evenly, as in ``torch.amax``.

    Arguments as for ``over_positions``.

    Shape:
        (B, C, H, W) -> (B, C, H, W), (B, H, W), (B, H, W).
    """
    if one_pass and _is_trained(x):
        return _OverChannels.apply(x)
    return x, x.mean(dim=1), x.amax(dim=1)


def _is_trained(x: Tensor) -> bool:
    # An exporter knows the usual operations only.
    return torch.is_grad_enabled() and x.requires_grad and not torch.jit.is_tracing()


def _without_autocast(x: Tensor) -> AbstractContextManager:
    """Disable autocast, which would convert a map to float32 before its mean."""
    device = x.device.type
    if device not in AUTOCAST_DEVICES:  # "meta" has no autocast
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    if x.dtype != torch.bfloat16:
        return x.mean(dim=dims)
    # On a CPU more than twice as fast as the mean, and no sum leaves its range.
    return x.sum(dim=dims) / math.prod(x.shape[dim] for dim in dims)


class _OverPositions(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor):
        with _without_autocast(x):
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
        with _without_autocast(x):
            mean, peak = _mean(x, (1,)), x.amax(dim=1)
        ctx.save_for_backward(x, peak)
        return x.view_as(x), mean, peak

    @staticmethod
    @once_differentiable
    def backward(ctx, of_map: Tensor, of_mean: Tensor, of_peak: Tensor):
        x, peak = ctx.saved_tensors
        # Straight into numbers: a map of booleans is slow to make and to convert.
        grad = torch.eq(x, peak[:, None], out=torch.empty_like(of_map))
        grad *= (of_peak / grad.sum(dim=1))[:, None]
        grad += of_map
        grad += (of_mean / x.shape[1])[:, None]
        return grad


class ChannelGate(nn.Module):
    """One weight in (0, 1) a channel, from its mean and its maximum over the map.

    Args:
        channels: C of the input, divisible by ``reduction``.
        reduction: squeeze factor r, C -> C/r -> C.
        mlp_bias: give both linear layers of the shared MLP a bias.

    Shape:
        (B, C), (B, C) -> (B, C, 1, 1).
    """

    def __init__(
        self, channels: int, reduction: int = 16, *, mlp_bias: bool = False
    ) -> None:
        super().__init__()
        if reduction < 1 or channels % reduction or channels < reduction:
            raise ValueError(
                f"CBAM got {channels} channels and reduction={reduction}; the channels "
                "must be divisible by the reduction: choose a smaller reduction"
            )
        self.mlp = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=mlp_bias),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=mlp_bias),
        )

    def forward(self, mean: Tensor, peak: Tensor) -> Tensor:
        """Return the gate of a map, given its means and maxima."""
        gate = torch.sigmoid(self.mlp(mean) + self.mlp(peak))
        return gate[:, :, None, None]


class SpatialGate(nn.Module):
    """One weight in (0, 1) a position, from the maximum and mean over channels.

    Args:
        kernel_size: odd side of the convolution over the two pooled maps (maximum
            first, then mean), in pixels of the map. None: no convolution, the sigmoid
            of the mean of the two maps, the only parameter-free gate that treats both
            alike.
        gate_norm: batch-normalise the convolution's output (eps 1e-5, momentum 0.01).

    Shape:
        (B, H, W), (B, H, W) -> (B, 1, H, W).
    """

    def __init__(self, kernel_size: int | None = 7, *, gate_norm: bool = False) -> None:
        super().__init__()
        self.conv = None
        if kernel_size is None and gate_norm:
            raise ValueError(
                "CBAM got gate_norm=True with kernel_size=None; the norm belongs to "
                "the convolution: give a kernel_size or leave gate_norm off"
            )
        if kernel_size is not None:
            if kernel_size < 1 or kernel_size % 2 == 0:
                raise ValueError(
                    f"CBAM got kernel_size={kernel_size}; give a positive odd number, "
                    "or None for no convolution"
                )
            pad = kernel_size // 2
            self.conv = nn.Conv2d(2, 1, kernel_size, padding=pad, bias=False)
        self.norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01) if gate_norm else None

    def forward(self, mean: Tensor, peak: Tensor) -> Tensor:
        """Return the gate of a map, given its means and maxima."""
        pooled = torch.stack((peak, mean), dim=1)  # (B, 2, H, W)
        if self.conv is None:
            return torch.sigmoid(pooled.mean(dim=1, keepdim=True))
        gate = self.conv(pooled)
        if self.norm is not None:
            gate = self.norm(gate)
        return torch.sigmoid(gate)


class CBAM(nn.Module):
    """Reweight a feature map by channel, then by position.

    The authors' released form is ``mlp_bias=True, gate_norm=True``.

    Args:
        channels: C of the input, divisible by ``reduction``.
        reduction: squeeze factor r, C -> C/r -> C.
        kernel_size: of the spatial gate, in pixels of the map; None: no convolution
            (see ``SpatialGate``).
        mlp_bias: bias in the shared MLP.
        gate_norm: batch norm in the spatial gate.
        gates: ``serial`` (channel, then position), ``parallel`` (both gates read
            the input, and it is multiplied by both), or one of them alone:
            ``channel``, ``spatial``.

    Shape:
        (B, C, H, W) -> (B, C, H, W), same dtype and device.

    Raises:
        ValueError: if the channels are not divisible by ``reduction``, the kernel
            is even, ``gate_norm`` has no convolution, or ``gates`` is unknown.

    Reference:
        Woo et al., CBAM, ECCV 2018. Differs: nothing with ``mlp_bias`` and
        ``gate_norm``. Zhu et al., Improved U-net-based leukocyte segmentation, do
        not name a convolution between concatenation and sigmoid; two concatenated
        maps cannot gate C channels, and ``kernel_size=None`` closes that gap with
        their mean.

    Examples:
        >>> x = torch.ones(1, 16, 4, 4)
        >>> CBAM(16, reduction=4)(x).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        kernel_size: int | None = 7,
        mlp_bias: bool = False,
        gate_norm: bool = False,
        gates: str = "serial",
    ) -> None:
        super().__init__()
        # False: autograd's own backward, for ``leuko train --plain``.
        self.one_pass = True
        if gates not in GATES:
            raise ValueError(f"CBAM got gates={gates!r}; choose one of {GATES}")
        self.gates = gates
        self.channel_gate = self.spatial_gate = None
        if gates != "spatial":
            self.channel_gate = ChannelGate(channels, reduction, mlp_bias=mlp_bias)
        if gates != "channel":
            self.spatial_gate = SpatialGate(kernel_size, gate_norm=gate_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reweighted map."""
        one_pass = self.one_pass
        if self.gates == "parallel":
            x, *of_channels = over_positions(x, one_pass=one_pass)
            x, *of_positions = over_channels(x, one_pass=one_pass)
            channel, spatial = self.channel_gate, self.spatial_gate
            return x * channel(*of_channels) * spatial(*of_positions)
        if self.channel_gate is not None:
            x, *of_channels = over_positions(x, one_pass=one_pass)
            x = x * self.channel_gate(*of_channels)
        if self.spatial_gate is not None:
            x, *of_positions = over_channels(x, one_pass=one_pass)
            x = x * self.spatial_gate(*of_positions)
        return x


def halving_stage(in_channels: int, channels: int) -> nn.Sequential:
    """Return a 2x2 max pooling, then a 1x1 and two 3x3 convolutions.

    Each convolution is followed by batch norm and ReLU, and starts Kaiming-normal.

    Args:
        in_channels: of the map above.
        channels: of all three convolutions.

    Shape:
        (B, in_channels, H, W) -> (B, channels, H / 2, W / 2), rounded up.
    """
    norm = {"type": "BN"}
    return nn.Sequential(
        # Rounded up: the smallest images keep a pixel.
        nn.MaxPool2d(2, ceil_mode=True),
        ConvModule(in_channels, channels, 1, norm_cfg=norm),
        ConvModule(channels, channels, 3, padding=1, norm_cfg=norm),
        ConvModule(channels, channels, 3, padding=1, norm_cfg=norm),
    )


@MODELS.register_module()
class CBAMSkipNeck(BaseModule):
    """Put a ``CBAM`` on the skips between an encoder and a decoder.

    Args:
        in_channels: channels of each map that the encoder returns.
        reduction: see ``CBAM``; every attended level must be divisible by it.
        kernel_size: see ``CBAM``.
        mlp_bias: see ``CBAM``.
        gate_norm: see ``CBAM``.
        gates: see ``CBAM``.
        skips: levels that get a block; None: all but the last, since the bottom
            map is no skip. The other levels pass untouched.
        deeper: channels of coarser maps to append, for an encoder that ends early; each
            halves the one before it (``halving_stage``) and counts as a level.
        init_cfg: mmengine initialisation.

    Shape:
        One map a level of the encoder, (B, in_channels[i], H_i, W_i) -> the same
        shapes, and those of ``deeper``.

    Raises:
        ValueError: as ``CBAM``, or if ``skips`` names a level that does not exist
            or the number of maps is not that of ``in_channels``.

    Reference:
        Zhu et al., Improved U-net-based leukocyte segmentation method, section
        2.2: four blocks in series form on the four skips. Differs: nothing, without
        ``deeper``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        reduction: int = 16,
        *,
        kernel_size: int | None = 7,
        mlp_bias: bool = False,
        gate_norm: bool = False,
        gates: str = "serial",
        skips: Sequence[int] | None = None,
        deeper: Sequence[int] = (),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        channels = (*self.in_channels, *deeper)
        levels = len(channels)
        chosen = range(levels - 1) if skips is None else skips
        unknown = [level for level in chosen if not 0 <= level < levels]
        if unknown:
            raise ValueError(
                f"CBAMSkipNeck got skips={list(chosen)} for {levels} maps; the levels "
                f"are 0 to {levels - 1}"
            )
        self.deeper = nn.ModuleList(
            halving_stage(channels[level - 1], channels[level])
            for level in range(len(in_channels), levels)
        )
        self.blocks = nn.ModuleDict(
            {
                str(level): CBAM(
                    channels[level],
                    reduction,
                    kernel_size=kernel_size,
                    mlp_bias=mlp_bias,
                    gate_norm=gate_norm,
                    gates=gates,
                )
                for level in chosen
            }
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps and the deeper ones, the chosen levels reweighted.

        The deeper maps are computed from the encoder's last one as it is.
        """
        if len(maps) != len(self.in_channels):
            raise ValueError(
                f"CBAMSkipNeck got {len(maps)} maps and was built for "
                f"{len(self.in_channels)}; set in_channels to the encoder's channels"
            )
        maps = list(maps)
        for stage in self.deeper:
            maps.append(stage(maps[-1]))
        return tuple(
            self.blocks[str(level)](x) if str(level) in self.blocks else x
            for level, x in enumerate(maps)
        )
