"""The dual-path encoder, and atrous spatial pyramid pooling on its deepest map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.registry import MODELS

WIDTHS = (32, 64, 128, 256, 512)
PRE_ACTIVATED = ("norm", "act", "conv")


class _DualPathBlock(nn.Module):
    """One bottleneck whose output is part added to, part appended to its input."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        growth: int,
        *,
        groups: int,
        norm_cfg: dict | None,
        stride: int = 1,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        inner = width // 2
        layers = {"norm_cfg": norm_cfg, "order": PRE_ACTIVATED, "bias": False}
        # The residual path, and a dense path of twice the growth to begin with.
        self.project = None
        if first:
            self.project = ConvModule(
                in_channels, width + 2 * growth, 1, stride=stride, **layers
            )
        self.bottleneck = nn.Sequential(
            ConvModule(in_channels, inner, 1, **layers),
            ConvModule(
                inner, inner, 3, stride=stride, padding=1, groups=groups, **layers
            ),
            ConvModule(inner, width + growth, 1, **layers),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.project is None else self.project(x)
        new = self.bottleneck(x)
        residual = kept[:, : self.width] + new[:, : self.width]
        return torch.cat((residual, kept[:, self.width :], new[:, self.width :]), dim=1)


@MODELS.register_module()
class DualPathEncoder(BaseModule):
    """Dual-path blocks at each of several scales, for a U-shaped network.

    A block adds one part of its output to what it was given, as a residual network
    does, and appends the other, as a dense network does.

    Args:
        widths: channels of the residual path, one number a level, finest first; each
            divisible by twice the groups and by ``growth_divisor``.
        in_channels: channels of the image.
        blocks: dual-path blocks a level.
        growth_divisor: a block appends its level's width over this many channels. DPN's
            growth is near an eighth of what its residual path holds.
        groups: of the 3x3 convolutions. DPN has 32 and far wider blocks; 4 leaves each
            group four channels at the finest level.
        norm_cfg: norm layer; None: batch norm.
        init_cfg: mmengine initialisation.

    Shape:
        (B, in_channels, H, W) -> one map a level, the i-th (B, out_channels[i], h, w)
        with h and w half of those before, rounded up; out_channels[i] is
        widths[i] + (blocks + 2) * widths[i] // growth_divisor.

    Raises:
        ValueError: if a width does not fit the groups or the divisor.

    Reference:
        Li et al., White blood segmentation based on dual path and atrous spatial
        pyramid pooling, J. Biomed. Eng. 39(3), 2022; Chen et al., Dual path networks,
        NIPS 2017. Inferred, since only the former's summary was open to us: a full
        resolution level in the place of DPN's stem, for the first skip of a U-Net; the
        widths, two blocks a level, the growth, the groups; no pretraining.

    Example:
        >>> net = DualPathEncoder([8, 16], groups=1)
        >>> [tuple(m.shape) for m in net(torch.zeros(1, 3, 9, 8))]
        [(1, 12, 9, 8), (1, 24, 5, 4)]
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        in_channels: int = 3,
        *,
        blocks: int = 2,
        growth_divisor: int = 8,
        groups: int = 4,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if any(width % (2 * groups) or width % growth_divisor for width in widths):
            raise ValueError(
                f"DualPathEncoder got widths={list(widths)}, groups={groups} and "
                f"growth_divisor={growth_divisor}; each width must be divisible by "
                f"{2 * groups} and by {growth_divisor}"
            )
        norm_cfg = {"type": "BN"} if norm_cfg is None else norm_cfg
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.levels, self.ends = nn.ModuleList(), nn.ModuleList()
        channels, self.out_channels = widths[0], ()
        for number, width in enumerate(widths):
            growth = width // growth_divisor
            level = nn.Sequential()
            for block in range(blocks):
                level.append(
                    _DualPathBlock(
                        channels,
                        width,
                        growth,
                        groups=groups,
                        norm_cfg=norm_cfg,
                        stride=2 if number and not block else 1,
                        first=not block,
                    )
                )
                channels = width + (block + 3) * growth
            self.levels.append(level)
            # Blocks begin with norm and activation, so a map that leaves lacks them.
            self.ends.append(_norm_and_relu(channels, norm_cfg))
            self.out_channels += (channels,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        x, maps = self.stem(image), []
        for level, end in zip(self.levels, self.ends, strict=True):
            x = level(x)
            maps.append(end(x))
        return tuple(maps)


def _norm_and_relu(channels: int, norm_cfg: dict) -> nn.Sequential:
    return nn.Sequential(build_norm_layer(norm_cfg, channels)[1], nn.ReLU())


@MODELS.register_module()
class ASPPNeck(BaseModule):
    """Look at the deepest map with several reaches at once; the others pass untouched.

    Args:
        in_channels: channels of the encoder's maps, finest first.
        channels: of each branch, and of the deepest map afterwards.
        rates: dilations of the branches, in pixels of the deepest map; 1 is a 1x1
            convolution. DeepLabv3's, made for 1/16 of the image; the paper gives none.
            On images of 256 pixels the larger ones read mostly padding.
        pooled: add DeepLabv3's branch of the whole map's mean.
        norm_cfg: norm layer; None: batch norm. The pooled branch has none: a batch of
            one gives it one value a channel, from which no statistics can be taken.
        init_cfg: mmengine initialisation.

    Shape:
        One map a level; the last, (B, in_channels[-1], H, W) -> (B, channels, H, W).

    Reference:
        Chen et al., Rethinking atrous convolution, 2017; Li et al. (see
        ``DualPathEncoder``) place it after the dual-path encoder. Differs: no norm in
        the pooled branch.

    Example:
        >>> neck = ASPPNeck([4, 8], 16)
        >>> [m.shape[1] for m in neck([torch.zeros(1, c, 6, 6) for c in (4, 8)])]
        [4, 16]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        rates: Sequence[int] = (1, 6, 12, 18),
        pooled: bool = True,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = {"type": "BN"} if norm_cfg is None else norm_cfg
        bottom = in_channels[-1]
        self.branches = nn.ModuleList(
            ConvModule(
                bottom,
                channels,
                1 if rate == 1 else 3,
                padding=0 if rate == 1 else rate,
                dilation=rate,
                norm_cfg=norm_cfg,
            )
            for rate in rates
        )
        self.pooled = ConvModule(bottom, channels, 1) if pooled else None
        self.join = ConvModule(
            (len(rates) + pooled) * channels, channels, 1, norm_cfg=norm_cfg
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps, the last one pooled over several reaches."""
        *finer, x = maps
        seen = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            mean = F.adaptive_avg_pool2d(x, 1)
            seen.append(self.pooled(mean).expand_as(seen[0]))
        return (*finer, self.join(torch.cat(seen, dim=1)))
