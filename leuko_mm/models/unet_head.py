"""The U-Net decoder (tensor work) and the mmseg head that wires it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.registry import MODELS

UPSAMPLINGS = ("nearest", "bilinear", "deconv")


class SkipsHead(BaseDecodeHead):
    """A decode head on one map a scale, finest first.

    Args:
        in_channels: channels of the maps.
        channels: channels of the map that the classifier ``conv_seg`` reads.
        num_classes: classes, background included.
        dropout_ratio: share of the channels that the classifier's dropout clears.
        in_index: which of the encoder's maps; None: as many as ``in_channels``, from
            the first.
        **kwargs: for mmseg's ``BaseDecodeHead``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        *,
        num_classes: int,
        dropout_ratio: float = 0.0,
        in_index: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        # The base advises a sigmoid channel for two classes; ours is a softmax.
        kwargs.setdefault("out_channels", num_classes)
        # The base starts the classifier at std 0.01, where Adam, whose step is at most
        # its rate, keeps the logits near zero for long: on one batch, 80 steps at 3e-3
        # gave 98 % of the pixels from this start and 88 % from the base's.
        start = {"type": "Normal", "std": channels**-0.5}
        kwargs.setdefault("init_cfg", {**start, "override": {"name": "conv_seg"}})
        super().__init__(
            list(in_channels),
            channels,
            num_classes=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=list(range(len(in_channels)) if in_index is None else in_index),
            input_transform="multiple_select",
            **kwargs,
        )

    @property
    def layers(self) -> dict:
        """Options of the head for mmcv's ``ConvModule``."""
        act_cfg = {"type": "ReLU"} if self.act_cfg is None else self.act_cfg
        return dict(norm_cfg=self.norm_cfg, act_cfg=act_cfg, conv_cfg=self.conv_cfg)


class Enlarge(nn.Module):
    """Enlarge a map to a given size, by interpolation or a 2x2 deconvolution.

    Args:
        channels: of the map.
        mode: ``nearest``, ``bilinear``, or ``deconv``, which only undoes a halving: to
            a size of 2n - 1, 2n or 2n + 1.
        align_corners: of the bilinear enlargement.

    Shape:
        (B, channels, H, W) and a size (h, w) -> (B, channels, h, w).

    Raises:
        ValueError: if the mode is unknown, or a deconvolution cannot give the size.
    """

    def __init__(
        self, channels: int, mode: str = "nearest", *, align_corners: bool = False
    ) -> None:
        super().__init__()
        if mode not in UPSAMPLINGS:
            raise ValueError(f"got upsample={mode!r}; choose one of {UPSAMPLINGS}")
        self.mode = mode
        # F.interpolate refuses the argument in nearest mode
        self.align_corners = align_corners if mode == "bilinear" else None
        self.deconv = None
        if mode == "deconv":
            self.deconv = nn.ConvTranspose2d(channels, channels, 2, stride=2)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return the enlarged map."""
        if self.deconv is None:
            return F.interpolate(
                x, size=tuple(size), mode=self.mode, align_corners=self.align_corners
            )
        doubled = [2 * n for n in x.shape[-2:]]
        if doubled == list(size):
            # The only branch in an exported network: no size becomes a constant.
            return self.deconv(x)
        if any(abs(int(s) - n) > 1 for s, n in zip(size, doubled, strict=True)):
            raise ValueError(
                f"upsample='deconv' doubles a map, and cannot make {tuple(size)} of "
                f"{tuple(x.shape[-2:])}; use an encoder whose maps halve from level to "
                "level, or upsample='bilinear'"
            )
        height, width = (int(s) for s in size)
        wanted = [max(s, n) for s, n in zip((height, width), doubled, strict=True)]
        return self.deconv(x, output_size=wanted)[..., :height, :width]


def two_convs(in_channels: int, out_channels: int, **layers: Any) -> nn.Sequential:
    """Return two 3x3 convolutions; ``ConvModule`` starts them Kaiming-normal."""
    return nn.Sequential(
        ConvModule(in_channels, out_channels, 3, padding=1, **layers),
        ConvModule(out_channels, out_channels, 3, padding=1, **layers),
    )


class UNetDecoder(nn.Module):
    """Decode from the deepest map to the finest skip, merging one skip a step.

    A step enlarges the map to the skip's own size (so odd sizes fit), concatenates
    (skip, enlarged) and applies two 3x3 convolutions, each with an optional norm
    and an activation. Convolutions start Kaiming-normal (fan out) with zero bias,
    and have no bias where a norm follows.

    Args:
        in_channels: channels of the maps, finest first, deepest last.
        channels: output channels of the steps, deepest step first.
        upsample: mode of the enlargements, see ``Enlarge``.
        align_corners: of the enlargements, see ``Enlarge``.
        final_upsample: factor of one more enlargement with two convolutions at the
            end, for encoders whose finest map is smaller than the image; 1: none.
        **layers: for mmcv's ``ConvModule``, such as ``norm_cfg``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) -> (B, channels[-1], H_0 * f, W_0 * f)
        with f = ``final_upsample``.

    Raises:
        ValueError: if there is not one entry of ``channels`` for each skip, the
            upsampling is unknown, ``final_upsample`` is below 1, or the number of
            maps is not that of ``in_channels``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        *,
        upsample: str = "nearest",
        align_corners: bool = False,
        final_upsample: int = 1,
        **layers: Any,
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
        self.steps, self.enlargements = nn.ModuleList(), nn.ModuleList()
        below = in_channels[-1]
        for skip, out in zip(reversed(in_channels[:-1]), channels, strict=True):
            enlarge = Enlarge(below, upsample, align_corners=align_corners)
            self.enlargements.append(enlarge)
            self.steps.append(two_convs(skip + below, out, **layers))
            below = out
        self.last = None
        if final_upsample > 1:
            enlarge = Enlarge(below, upsample, align_corners=align_corners)
            self.enlargements.append(enlarge)
            self.last = two_convs(below, below, **layers)

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


@MODELS.register_module()
class UNetHead(SkipsHead):
    """Decode the maps of an encoder with ``UNetDecoder`` and classify each pixel.

    Args:
        in_channels: channels of the encoder's maps, finest first.
        channels: output channels of the decoder steps, deepest step first.
        num_classes: classes, background included.
        upsample: see ``UNetDecoder``.
        final_upsample: see ``UNetDecoder``.
        **kwargs: for ``SkipsHead``; ``align_corners`` is that of the bilinear
            enlargements and of the logits' resize.

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

    Examples:
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
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, channels[-1], num_classes=num_classes, **kwargs)
        self.decoder = UNetDecoder(
            in_channels,
            channels,
            upsample=upsample,
            align_corners=self.align_corners,
            final_upsample=final_upsample,
            **self.layers,
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits at the finest map's size (times the last factor)."""
        return self.cls_seg(self.decoder(self._transform_inputs(inputs)))
