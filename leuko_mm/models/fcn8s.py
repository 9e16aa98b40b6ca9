"""FCN-8s: class scores of three scales, added up on the way to the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.models.unet_head import SkipsHead
from leuko_mm.registry import MODELS


class ScoreDoubling(nn.ConvTranspose2d):
    """A trainable 4x4 deconvolution of class scores that starts as bilinear doubling.

    Args:
        channels: number of scores a pixel.

    Shape:
        (B, channels, H, W) and a size (2H or 2H + 1, 2W or 2W + 1) -> that size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 4, stride=2, padding=1, bias=False)
        ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = torch.outer(ramp, ramp)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return the scores at the given size."""
        return super().forward(x, output_size=list(size))


@MODELS.register_module()
class FCN8sHead(SkipsHead):
    """Score a VGG's maps at 1/32, 1/16 and 1/8 of the image and add the scores.

    The encoder returns the maps before its poolings; the third to fifth pooling are
    here. Logits are at 1/8 of the image, and mmseg enlarges them bilinearly, as the
    paper's last, fixed deconvolution does.

    Args:
        in_channels: channels of the encoder's third to fifth map.
        num_classes: classes, background included.
        fc_channels: width of the two convolutions in place of VGG's fully connected
            layers. The paper's 4096 are 120 million weights, worth it where they are
            pretrained; the shared file of weights has the convolutions alone.
        fc_kernel: odd side of the first of them, in pixels at 1/32; the paper's is 7.
        dropout_ratio: after each of them; the paper's is 0.5.
        in_index: which of the encoder's maps.
        **kwargs: for ``SkipsHead``.

    Shape:
        Maps (B, in_channels[i], H_i, W_i) at 1/4, 1/8 and 1/16 -> logits
        (B, num_classes, H_0 // 2, W_0 // 2), at 1/8. An image has at least 32 pixels
        a side.

    Raises:
        ValueError: if there are not three maps or ``fc_kernel`` is even.

    Reference:
        Shelhamer et al., Fully convolutional networks, TPAMI 2017. Differs: 'same'
        padding where the paper pads the image by 100 pixels and crops; narrower fully
        connected layers unless asked for (see ``fc_channels``); both skips are trained
        from the start, where the paper goes from 32s over 16s to 8s. Their scores start
        at zero as in the paper.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        num_classes: int,
        fc_channels: int = 4096,
        fc_kernel: int = 7,
        dropout_ratio: float = 0.5,
        in_index: Sequence[int] = (2, 3, 4),
        **kwargs: Any,
    ) -> None:
        if len(in_channels) != 3 or fc_kernel % 2 == 0:
            raise ValueError(
                f"FCN8sHead got in_channels={list(in_channels)} and "
                f"fc_kernel={fc_kernel}; it reads three maps, and the kernel is odd"
            )
        super().__init__(
            in_channels,
            fc_channels,
            num_classes=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            **kwargs,
        )
        layers = {"norm_cfg": self.norm_cfg, "act_cfg": self.act_cfg}
        self.fc6 = ConvModule(
            in_channels[2], fc_channels, fc_kernel, padding=fc_kernel // 2, **layers
        )
        self.fc7 = ConvModule(fc_channels, fc_channels, 1, **layers)
        # Finest first, as the maps.
        self.skip_scores = nn.ModuleList(
            nn.Conv2d(channels, self.out_channels, 1) for channels in in_channels[:2]
        )
        for score in self.skip_scores:
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)
        self.doublings = nn.ModuleList(
            ScoreDoubling(self.out_channels) for _ in self.skip_scores
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits at 1/8 of the image."""
        *skips, bottom = (F.max_pool2d(x, 2) for x in self._transform_inputs(inputs))
        x = self._padded_fc6(bottom)
        x = self.fc7(x if self.dropout is None else self.dropout(x))
        scores = self.cls_seg(x)
        for index in (1, 0):
            skip = self.skip_scores[index](skips[index])
            scores = self.doublings[index](scores, skip.shape[-2:]) + skip
        return scores

    def _padded_fc6(self, bottom: Tensor) -> Tensor:
        """Return fc6 of a map, with zeros added to a map smaller than its kernel.

        The values are the same. In bfloat16 on a CPU, oneDNN leaves the gradient of
        weights that meet nothing but padding undefined, at times NaN.
        """
        height, width = bottom.shape[-2:]
        reach = self.fc6.conv.padding[0] + 1
        missing = max(0, reach - height), max(0, reach - width)
        # Without gradients there is nothing to protect, and an export keeps any size.
        if not any(missing) or not torch.is_grad_enabled():
            return self.fc6(bottom)
        x = self.fc6.conv(F.pad(bottom, (0, missing[1], 0, missing[0])))
        x = x[..., :height, :width]
        x = self.fc6.norm(x) if self.fc6.with_norm else x
        return self.fc6.activate(x) if self.fc6.with_activation else x
