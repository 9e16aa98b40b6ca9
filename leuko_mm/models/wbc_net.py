"""WBC-Net: a residual encoder with a wide view, and U-Net++'s nested skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.models.unet_head import Enlarge, SkipsHead, two_convs
from leuko_mm.registry import MODELS

WIDTHS = (32, 64, 128, 256, 512)  # of U-Net++


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second dilated, around a shortcut."""

    def __init__(
        self, in_channels: int, channels: int, dilation: int, norm_cfg: dict | None
    ) -> None:
        super().__init__()
        linear = {"norm_cfg": norm_cfg, "act_cfg": None}
        self.conv1 = ConvModule(in_channels, channels, 3, padding=1, norm_cfg=norm_cfg)
        self.conv2 = ConvModule(
            channels, channels, 3, padding=dilation, dilation=dilation, **linear
        )
        self.shortcut = nn.Identity()
        if in_channels != channels:
            self.shortcut = ConvModule(in_channels, channels, 1, **linear)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.conv2(self.conv1(x)))


@MODELS.register_module()
class ResidualContextEncoder(BaseModule):
    """Residual blocks at each of several scales, every other convolution dilated.

    Args:
        widths: channels of the levels, finest first.
        in_channels: channels of the image.
        blocks: residual blocks a level.
        dilation: of each block's second convolution, in pixels of the level. The
            paper's encoder is context-aware in an unstated way; 1 is the plain residual
            encoder.
        norm_cfg: norm layer; None: batch norm.
        init_cfg: mmengine initialisation.

    Shape:
        (B, in_channels, H, W) -> one map a level, the i-th (B, widths[i], H // 2**i,
        W // 2**i).

    Raises:
        ValueError: if the image is too small for the levels.

    Reference:
        Lu et al., WBC-Net, Applied Soft Computing 101 (2021): a context-aware encoder
        of residual blocks. Inferred, since only the abstract was open to us: the widths
        (U-Net++'s), two blocks a level, the dilation, halving by max pooling, and no
        pretraining.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        in_channels: int = 3,
        *,
        blocks: int = 2,
        dilation: int = 2,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = {"type": "BN"} if norm_cfg is None else norm_cfg
        self.out_channels = tuple(widths)
        self.levels = nn.ModuleList()
        for before, width in zip([in_channels, *widths], widths, strict=False):
            level = nn.Sequential()
            for channels in [before] + [width] * (blocks - 1):
                level.append(_ResidualBlock(channels, width, dilation, norm_cfg))
            self.levels.append(level)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        smallest = 2 ** (len(self.levels) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ValueError(
                f"ResidualContextEncoder got an image of shape {tuple(image.shape)}; "
                f"height and width must be at least {smallest} pixels: resize or pad it"
            )
        maps: list[Tensor] = []
        for level in self.levels:
            maps.append(level(F.max_pool2d(maps[-1], 2) if maps else image))
        return tuple(maps)


class NestedDecoder(nn.Module):
    """U-Net++'s nodes: each reads all nodes left of it, and the one below, enlarged.

    Args:
        in_channels: channels of the maps, finest first; a node has those of its level.
        upsample: see ``Enlarge``.
        norm_cfg, act_cfg: as in mmcv's ``ConvModule``; None: no norm, ReLU.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) -> the finest level's nodes, one fewer than
        the maps, each (B, in_channels[0], H_0, W_0).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        upsample: str = "deconv",
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        layers = {"norm_cfg": norm_cfg, "act_cfg": act_cfg or {"type": "ReLU"}}
        self.depth = len(in_channels) - 1
        self.enlargements, self.nodes = nn.ModuleDict(), nn.ModuleDict()
        for column in range(1, self.depth + 1):
            for level in range(self.depth + 1 - column):
                width, below = in_channels[level], in_channels[level + 1]
                name = f"{level}_{column}"
                self.enlargements[name] = Enlarge(below, upsample)
                self.nodes[name] = two_convs(column * width + below, width, **layers)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the finest level's nodes, shallowest first."""
        rows = [[x] for x in maps]
        for column in range(1, self.depth + 1):
            for level in range(self.depth + 1 - column):
                name, row = f"{level}_{column}", rows[level]
                # of the column before, or the encoder's
                below = rows[level + 1][column - 1]
                raised = self.enlargements[name](below, row[0].shape[-2:])
                row.append(self.nodes[name](torch.cat((*row, raised), dim=1)))
        return rows[0][1:]


@MODELS.register_module()
class NestedUNetHead(SkipsHead):
    """Decode maps through nested, dense skips and classify each pixel.

    Args:
        in_channels: channels of the encoder's maps, finest first.
        num_classes: classes, background included.
        upsample: see ``Enlarge``; WBC-Net's decoder has deconvolutions.
        deep_supervision: train every node of the finest level through a classifier of
            its own, and return the mean of their logits. U-Net++ offers it; WBC-Net
            does not mention it.
        norm_cfg: norm of the nodes; None: batch norm.
        **kwargs: for ``SkipsHead``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i), each half of the one before -> logits
        (B, num_classes, H_0, W_0).

    Reference:
        Zhou et al., UNet++, DLMIA 2018; Lu et al., WBC-Net (mixed skip pathways on
        dense convolutional blocks). Differs: batch norm in the nodes, which U-Net++
        leaves open; the setting's loss, which all methods share, replaces WBC-Net's
        cross-entropy and Tversky index.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        upsample: str = "deconv",
        deep_supervision: bool = False,
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        norm_cfg = {"type": "BN"} if norm_cfg is None else norm_cfg
        width = in_channels[0]
        super().__init__(
            in_channels, width, num_classes=num_classes, norm_cfg=norm_cfg, **kwargs
        )
        layers = {"norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        self.decoder = NestedDecoder(in_channels, upsample=upsample, **layers)
        self.inner_classifiers = nn.ModuleList()
        for _ in range(self.decoder.depth - 1 if deep_supervision else 0):
            classifier = nn.Conv2d(width, self.out_channels, 1)
            nn.init.normal_(classifier.weight, std=width**-0.5)
            nn.init.zeros_(classifier.bias)
            self.inner_classifiers.append(classifier)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits at the finest map's size."""
        return torch.stack(self._all_logits(inputs)).mean(dim=0)

    def loss(self, inputs, batch_data_samples, train_cfg) -> dict:
        """Return the mean of every classifier's losses."""
        each = [
            self.loss_by_feat(logits, batch_data_samples)
            for logits in self._all_logits(inputs)
        ]
        return {key: sum(one[key] for one in each) / len(each) for key in each[0]}

    def _all_logits(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        *inner, last = self.decoder(self._transform_inputs(inputs))
        pairs = zip(self.inner_classifiers, inner, strict=False)
        return [*(classify(x) for classify, x in pairs), self.cls_seg(last)]
