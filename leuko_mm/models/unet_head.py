"""The U-Net decoder (tensor work) and the mmseg head that wires it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from leuko_mm.models.enlarge import Enlarge
from leuko_mm.models.skips_head import SkipsHead
from leuko_mm.registry import MODELS


class UNetDecoder(nn.Module):
    """Climb from the deepest map to the finest skip, merging one skip a step.

    A step enlarges the map to the skip's own size (so odd sizes fit), concatenates
    (skip, enlarged) and applies two 3x3 convolutions, each with an optional norm
    and an activation. Convolutions start Kaiming-normal (fan out) with zero bias,
    and have no bias where a norm follows.

    Args:
        in_channels: channels of the maps, finest first, deepest last.
        channels: output channels of the steps, deepest step first.
        upsample: ``nearest``, ``bilinear`` or ``deconv``; see ``Enlarge``.
        align_corners: of the bilinear enlargement.
        final_upsample: factor of one more enlargement with two convolutions at the
            end, for encoders whose finest map is smaller than the image; 1: none.
        norm_cfg: norm layer, such as ``dict(type='BN')``; None: none.
        act_cfg: activation layer; None means ReLU.
        conv_cfg: convolution layer; None means ``Conv2d``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) -> (B, channels[-1], H_0 * f, W_0 * f)
        with f = ``final_upsample``.

    Raises:
        ValueError: if there is not one entry of ``channels`` for each skip, the
            upsampling is unknown, ``final_upsample`` is below 1, or the number of
            maps is not that of ``in_channels``.

    Example:
        >>> decoder = UNetDecoder([8, 16], [8])
        >>> decoder([torch.zeros(1, 8, 6, 7), torch.zeros(1, 16, 3, 3)]).shape
        torch.Size([1, 8, 6, 7])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        *,
        upsample: str = "nearest",
        align_corners: bool = False,
        final_upsample: int = 1,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        conv_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) < 2 or len(channels) != len(in_channels) - 1:
            raise ValueError(
                f"UNetDecoder got in_channels={list(in_channels)} and "
                f"channels={list(channels)}; give one decoder width for each skip, "
                "that is one fewer than the maps"
            )
        if final_upsample < 1:
            raise ValueError(
                f"UNetDecoder got final_upsample={final_upsample}; give 1 for none, "
                "or the factor from the finest map to the image"
            )
        self.levels = len(in_channels)
        self.final_upsample = final_upsample
        layers = {
            "norm_cfg": norm_cfg,
            "act_cfg": {"type": "ReLU"} if act_cfg is None else act_cfg,
            "conv_cfg": conv_cfg,
        }
        self.steps, self.enlargements = nn.ModuleList(), nn.ModuleList()
        below = in_channels[-1]
        for skip, out in zip(reversed(in_channels[:-1]), channels, strict=True):
            self.enlargements.append(
                Enlarge(below, upsample, align_corners=align_corners)
            )
            self.steps.append(_two_convs(skip + below, out, layers))
            below = out
        self.last = None
        if final_upsample > 1:
            self.enlargements.append(
                Enlarge(below, upsample, align_corners=align_corners)
            )
            self.last = _two_convs(below, below, layers)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the decoded map at the finest skip's size (times the last factor)."""
        if len(maps) != self.levels:
            raise ValueError(
                f"UNetDecoder got {len(maps)} maps and was built for {self.levels}"
            )
        *skips, x = maps
        for step, enlarge, skip in zip(
            self.steps, self.enlargements, reversed(skips), strict=False
        ):
            x = step(torch.cat((skip, enlarge(x, skip.shape[-2:])), dim=1))
        if self.last is not None:
            height, width = x.shape[-2:]
            size = (height * self.final_upsample, width * self.final_upsample)
            x = self.last(self.enlargements[-1](x, size))
        return x


def _two_convs(in_channels: int, out_channels: int, layers: dict) -> nn.Sequential:
    # ConvModule gives its convolution the Kaiming start when it is built.
    return nn.Sequential(
        ConvModule(in_channels, out_channels, 3, padding=1, **layers),
        ConvModule(out_channels, out_channels, 3, padding=1, **layers),
    )


@MODELS.register_module()
class UNetHead(SkipsHead):
    """Decode the maps of an encoder with ``UNetDecoder`` and classify each pixel.

    Args:
        in_channels: channels of the encoder's maps, finest first, for instance
            ``[64, 128, 256, 512, 512]``.
        channels: output channels of the decoder steps, deepest step first, for
            instance ``[512, 256, 128, 64]``.
        num_classes: classes, background included.
        upsample: see ``UNetDecoder``.
        final_upsample: see ``UNetDecoder``.
        dropout_ratio: share of channels dropped before the 1x1 classifier.
        in_index: which of the encoder's maps to read; None: the first
            ``len(in_channels)``.
        **kwargs: of mmseg's ``BaseDecodeHead``, among them ``norm_cfg``, ``act_cfg``,
            ``conv_cfg``, ``align_corners`` (of the bilinear enlargements and of the
            logits' resize), ``loss_decode``, ``ignore_index``, ``init_cfg``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) -> logits (B, num_classes, H_0 * f,
        W_0 * f) with f = ``final_upsample``.

    Raises:
        ValueError: as ``UNetDecoder``.

    Reference:
        Ronneberger et al., U-Net, MICCAI 2015; Zhu et al., Improved U-net-based
        leukocyte segmentation method. The latter leaves the decoder open: the
        defaults follow the public family of VGG16 U-Net trainers whose schedule it
        shares (x2 enlargement, nearest in the Keras member and bilinear with
        aligned corners in the torch member; concatenation (skip, enlarged); two 3x3
        convolutions with ReLU, no norm, no dropout; widths 512, 256, 128, 64; a 1x1
        classifier; a last x2 step with two convolutions for ResNet50). Differs:
        enlarges to the skip's size, so that the image need not be divisible by 16.

    Example:
        >>> head = UNetHead([8, 16], [8], num_classes=6)
        >>> head([torch.zeros(1, 8, 6, 6), torch.zeros(1, 16, 3, 3)]).shape
        torch.Size([1, 6, 6, 6])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        *,
        num_classes: int,
        upsample: str = "nearest",
        final_upsample: int = 1,
        dropout_ratio: float = 0.0,
        in_index: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels,
            channels[-1],
            num_classes=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            **kwargs,
        )
        self.decoder = UNetDecoder(
            in_channels,
            channels,
            upsample=upsample,
            align_corners=self.align_corners,
            final_upsample=final_upsample,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
            conv_cfg=self.conv_cfg,
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits at the finest map's size (times the last factor)."""
        return self.cls_seg(self.decoder(self._transform_inputs(inputs)))
