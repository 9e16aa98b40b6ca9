"""Convolutional block attention: the two gates and the block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leuko_mm.models.pooled_maps import over_channels, over_positions

GATES = ("serial", "parallel", "channel", "spatial")


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
        """Return the gate of a map of which mean and maximum are given."""
        gate = torch.sigmoid(self.mlp(mean) + self.mlp(peak))
        return gate[:, :, None, None]


class SpatialGate(nn.Module):
    """One weight in (0, 1) a position, from the maximum and mean over channels.

    Args:
        kernel_size: odd side of the convolution over the two pooled maps (maximum
            first, then mean), in pixels of the map. None leaves the convolution
            out and takes the sigmoid of the mean of the two maps: the only
            parameter-free gate that treats both alike.
        gate_norm: batch-normalise the convolution's output (eps 1e-5, momentum
            0.01).

    Shape:
        (B, H, W), (B, H, W) -> (B, 1, H, W).
    """

    def __init__(self, kernel_size: int | None = 7, *, gate_norm: bool = False) -> None:
        super().__init__()
        if kernel_size is None:
            if gate_norm:
                raise ValueError(
                    "CBAM got gate_norm=True with kernel_size=None; the norm belongs "
                    "to the convolution: give a kernel_size or leave gate_norm off"
                )
            self.conv = None
        else:
            if kernel_size < 1 or kernel_size % 2 == 0:
                raise ValueError(
                    f"CBAM got kernel_size={kernel_size}; give a positive odd number, "
                    "or None for no convolution"
                )
            self.conv = nn.Conv2d(
                2, 1, kernel_size, padding=kernel_size // 2, bias=False
            )
        self.norm = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01) if gate_norm else None

    def forward(self, mean: Tensor, peak: Tensor) -> Tensor:
        """Return the gate of a map of which mean and maximum are given."""
        pooled = torch.stack((peak, mean), dim=1)  # (B, 2, H, W)
        if self.conv is None:
            return torch.sigmoid(pooled.mean(dim=1, keepdim=True))
        gate = self.conv(pooled)
        if self.norm is not None:
            gate = self.norm(gate)
        return torch.sigmoid(gate)


class CBAM(nn.Module):
    """Reweight a feature map by channel, then by position.

    One bottleneck MLP is shared by the average- and max-pooled descriptors; one
    convolution reads the channel maximum and mean. The authors' released form is
    ``mlp_bias=True, gate_norm=True``.

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

    Example:
        >>> import torch
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
        # False: autograd's own passes back, for ``leuko train --plain``.
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
            return (
                x * self.channel_gate(*of_channels) * self.spatial_gate(*of_positions)
            )
        if self.channel_gate is not None:
            x, *of_channels = over_positions(x, one_pass=one_pass)
            x = x * self.channel_gate(*of_channels)
        if self.spatial_gate is not None:
            x, *of_positions = over_channels(x, one_pass=one_pass)
            x = x * self.spatial_gate(*of_positions)
        return x
