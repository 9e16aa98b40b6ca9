"""The class of the one cell in an image, as a decode head of MMSegmentation."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import normal_init
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from leuko_mm.registry import MODELS


@MODELS.register_module()
class CellClassHead(BaseDecodeHead):
    """Name the cell in the middle of an image: pool the features, one linear layer.

    Every pixel gets the same logits, so that a network that names cells is trained,
    tested, exported and read as one that segments. Class 0, the background, stands for
    whatever is none of the classes.

    Args:
        in_channels: of the encoder's last map.
        dropout_ratio: of the pooled features.
        **kwargs: of MMSegmentation's ``BaseDecodeHead``.

    Shape:
        maps (B, in_channels, h, w), the last is used -> logits (B, num_classes, h, w).
    """

    def __init__(self, in_channels: int, *, dropout_ratio: float = 0.2, **kwargs: Any):
        kwargs.setdefault("channels", in_channels)
        super().__init__(in_channels=in_channels, dropout_ratio=0, **kwargs)
        self.conv_seg = nn.Identity()
        self.dropout = nn.Dropout(dropout_ratio)
        self.linear = nn.Linear(2 * in_channels, self.out_channels)

    def init_weights(self) -> None:
        """Start from small logits."""
        normal_init(self.linear, std=0.01)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the logits of the classes at every place of the last map."""
        features = inputs[-1]
        pooled = (features.mean(dim=(2, 3)), features.amax(dim=(2, 3)))
        logits = self.linear(self.dropout(torch.cat(pooled, dim=1)))
        return logits[:, :, None, None].expand(-1, -1, *features.shape[2:])
