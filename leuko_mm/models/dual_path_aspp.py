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
    """A bottleneck; part of its output is added to its input, part appended."""

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
        # The residual path, and a dense path that starts at twice the growth.
        self.project = None
        if first:
            paths = width + 2 * growth
            self.project = ConvModule(in_channels, paths, 1, stride=stride, **layers)
        grouped = {"stride": stride, "padding": 1, "groups": groups, **layers}
        self.bottleneck = nn.Sequential(
            ConvModule(in_channels, inner, 1, **layers),
            ConvModule(inner, inner, 3, **grouped),
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

    A block adds one part of its output to its input, as a residual network does, and
    appends the other, as a dense network does.

    Args:
        widths: channels of the residual path, one number a level, finest first; each
            divisible by twice the groups and by ``growth_divisor``.
        in_channels: channels of the image.
        blocks: dual-path blocks a level.
        growth_divisor: a block appends width // growth_divisor channels. DPN's growth
            is near an eighth of its residual path.
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
        NIPS 2017. Inferred, since only the former's abstract was open to us: a full
        resolution level in place of DPN's stem, for the first skip of a U-Net; the
        widths, two blocks a level, the growth, the groups; no pretraining.
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
        options = {"groups": groups, "norm_cfg": norm_cfg}
        channels, self.out_channels = widths[0], ()
        for number, width in enumerate(widths):
            growth = width // growth_divisor
            level = nn.Sequential()
            for block in range(blocks):
                first = block == 0
                stride = 2 if first and number else 1
                level.append(
                    _DualPathBlock(
                        channels, width, growth, stride=stride, first=first, **options
                    )
                )
                channels = width + (block + 3) * growth
            self.levels.append(level)
            # Blocks start with norm and activation, which the level's output lacks.
            norm = build_norm_layer(norm_cfg, channels)[1]
            self.ends.append(nn.Sequential(norm, nn.ReLU()))
            self.out_channels += (channels,)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        x, maps = self.stem(image), []
        for level, end in zip(self.levels, self.ends, strict=True):
            x = level(x)
            maps.append(end(x))
        return tuple(maps)


@MODELS.register_module()
class ASPPNeck(BaseModule):
    """Atrous spatial pyramid pooling of the deepest map; the others pass untouched.

    Args:
        in_channels: channels of the encoder's maps, finest first.
        channels: of each branch, and of the deepest map afterwards.
        rates: dilations of the branches, in pixels of the deepest map; 1 is a 1x1
            convolution. DeepLabv3's, made for 1/16 of the image; the paper gives none.
            On images of 256 pixels the larger ones read mostly padding.
        pooled: add DeepLabv3's branch of the whole map's mean.
        norm_cfg: norm layer; None: batch norm. The pooled branch has none: with one
            image it has one value a channel, and no statistics.
        init_cfg: mmengine initialisation.

    Shape:
        One map a level; the last, (B, in_channels[-1], H, W) -> (B, channels, H, W).

    Reference:
        Chen et al., Rethinking atrous convolution, 2017; Li et al. (see
        ``DualPathEncoder``) place it after the dual-path encoder. Differs: no norm in
        the pooled branch.
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
        self.branches = nn.ModuleList()
        for rate in rates:
            side, pad = (1, 0) if rate == 1 else (3, rate)
            options = {"padding": pad, "dilation": rate, "norm_cfg": norm_cfg}
            self.branches.append(ConvModule(bottom, channels, side, **options))
        self.pooled = ConvModule(bottom, channels, 1) if pooled else None
        self.join = ConvModule(
            (len(rates) + pooled) * channels, channels, 1, norm_cfg=norm_cfg
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps, the last one pooled at several dilations."""
        *finer, x = maps
        found = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            mean = F.adaptive_avg_pool2d(x, 1)
            found.append(self.pooled(mean).expand_as(found[0]))
        return (*finer, self.join(torch.cat(found, dim=1)))
