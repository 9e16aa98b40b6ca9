"""SegNet's decoder: unpooling to the places of the encoder's maxima."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.models.unet_head import SkipsHead
from leuko_mm.registry import MODELS


class SegNetDecoder(nn.Module):
    """Undo the poolings of a VGG encoder, deepest first, with convolutions between.

    The encoder returns the maps before its poolings; pooling them again gives the
    indices that it used, and pools the deepest map. Of a finer map only the places of
    the maxima are used, none of its values.

    Args:
        in_channels: channels of the maps, finest first.
        convs: 3x3 convolutions after each unpooling, deepest first. The last of each
            level has the channels of the next finer map.
        **layers: for mmcv's ``ConvModule``, such as ``norm_cfg``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i), each half of the one before, rounded down
        -> (B, in_channels[0], H_0, W_0).

    Raises:
        ValueError: if there is not one entry of ``convs`` a map.
    """

    def __init__(
        self, in_channels: Sequence[int], convs: Sequence[int], **layers: Any
    ) -> None:
        super().__init__()
        if len(convs) != len(in_channels):
            raise ValueError(
                f"SegNetDecoder got convs={list(convs)} for {len(in_channels)} maps; "
                "give one number of convolutions for each map, deepest first"
            )
        self.levels = nn.ModuleList()
        # A level ends with the channels of the next finer map.
        outward = [in_channels[0], *in_channels[:-1]]
        for channels, finer, count in zip(
            reversed(in_channels), reversed(outward), convs, strict=True
        ):
            level = nn.Sequential()
            for pair in pairwise([channels] * count + [finer]):
                level.append(ConvModule(*pair, 3, padding=1, **layers))
            self.levels.append(level)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the decoded map at the finest map's size."""
        x = None
        for level, finer in zip(self.levels, reversed(maps), strict=True):
            pooled, indices = F.max_pool2d(finer, 2, return_indices=True)
            x = pooled if x is None else x
            x = level(F.max_unpool2d(x, indices, 2, output_size=finer.shape[-2:]))
        return x


@MODELS.register_module()
class SegNetHead(SkipsHead):
    """Decode the maps of a VGG encoder by their pooling indices; classify each pixel.

    Args:
        in_channels: channels of the encoder's maps before pooling, finest first.
        num_classes: classes, background included.
        convs: convolutions of the decoder's levels, deepest first, without the
            classifier. The default mirrors VGG16, whose thirteenth convolution is the
            classifier.
        norm_cfg: norm of the decoder; SegNet normalises every convolution.
        **kwargs: for ``SkipsHead``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) -> logits (B, num_classes, H_0, W_0). The
        deepest map is pooled once more, so that an image has at least 32 pixels a
        side.

    Raises:
        ValueError: as ``SegNetDecoder``.

    Reference:
        Badrinarayanan et al., SegNet, TPAMI 2017. Differs: its encoder has batch norms;
        here it is ``VGG`` with the ImageNet weights that all VGG16 methods share, which
        has none.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        convs: Sequence[int] = (3, 3, 3, 2, 1),
        norm_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        norm_cfg = {"type": "BN"} if norm_cfg is None else norm_cfg
        # A classifier of 3x3 reads nine times the values of one of 1x1.
        start = {"type": "Normal", "std": (9 * in_channels[0]) ** -0.5}
        kwargs.setdefault("init_cfg", {**start, "override": {"name": "conv_seg"}})
        super().__init__(
            in_channels,
            in_channels[0],
            num_classes=num_classes,
            norm_cfg=norm_cfg,
            **kwargs,
        )
        self.decoder = SegNetDecoder(in_channels, convs, **self.layers)
        self.conv_seg = nn.Conv2d(in_channels[0], self.out_channels, 3, padding=1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits at the finest map's size."""
        return self.cls_seg(self.decoder(self._transform_inputs(inputs)))
