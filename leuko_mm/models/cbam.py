"""Convolutional block attention: the two gates, the block, and the neck of skips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.registry import MODELS

GATES = ("serial", "parallel", "channel", "spatial")


class ChannelGate(nn.Module):
    """One weight in (0, 1) a channel, from its mean and its maximum over the map.

    Args:
        channels: C of the input, divisible by ``reduction``.
        reduction: squeeze factor r, C -> C/r -> C.
        mlp_bias: give both linear layers of the shared MLP a bias.

    Shape:
        (B, C, H, W) -> (B, C, 1, 1).
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate, not the gated map."""
        mean = x.mean(dim=(2, 3))  # (B, C)
        # an index-keeping maximum: its backward is several times faster than amax's
        peak = F.adaptive_max_pool2d(x, 1).flatten(1)  # (B, C)
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
        (B, C, H, W) -> (B, 1, H, W).
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the gate, not the gated map."""
        pooled = torch.stack((x.amax(dim=1), x.mean(dim=1)), dim=1)  # (B, 2, H, W)
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
        if self.gates == "parallel":
            return x * self.channel_gate(x) * self.spatial_gate(x)
        if self.channel_gate is not None:
            x = x * self.channel_gate(x)
        if self.spatial_gate is not None:
            x = x * self.spatial_gate(x)
        return x


def deeper_stage(in_channels: int, channels: int) -> nn.Sequential:
    """Return a stage that halves a map: its maxima, a 1x1 and two 3x3 convolutions.

    Each convolution is followed by batch norm and ReLU, and starts Kaiming-normal.

    Args:
        in_channels: of the map above.
        channels: of all three convolutions.

    Shape:
        (B, in_channels, H, W) -> (B, channels, H // 2, W // 2).

    Example:
        >>> deeper_stage(8, 4)(torch.zeros(2, 8, 6, 9)).shape
        torch.Size([2, 4, 3, 4])
    """
    norm = {"type": "BN"}
    return nn.Sequential(
        nn.MaxPool2d(2),
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
        deeper: channels of coarser maps to append, for an encoder that ends early; see
            ``deeper_stage``. Each halves the one before it. They are levels as the
            encoder's are.
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

    Example:
        >>> neck = CBAMSkipNeck([16, 32, 32])
        >>> list(neck.blocks)
        ['0', '1']
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
            deeper_stage(channels[level - 1], channels[level])
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
        """Return the maps, with the deeper ones, those of the chosen levels reweighted.

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
