"""EfficientNet-Lite0 without norms: an encoder of 3.4 million parameters."""

from __future__ import annotations

from dataclasses import dataclass

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.registry import MODELS

# ImageNet's, of RGB values from 0 to 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEM = 32  # channels


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck: channels, kernel, stride, factor of the expansion."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int


def blocks() -> list[Block]:
    """Return the sixteen blocks of EfficientNet-Lite0."""
    stages = [(16, 1, 3, 1, 1), (24, 2, 3, 2, 6), (40, 2, 5, 2, 6), (80, 3, 3, 2, 6)]
    stages += [(112, 3, 5, 1, 6), (192, 4, 5, 2, 6), (320, 1, 3, 1, 6)]
    found, channels = [], STEM
    for outputs, count, kernel, stride, expansion in stages:
        for number in range(count):
            step = stride if number == 0 else 1
            found.append(Block(channels, outputs, kernel, step, expansion))
            channels = outputs
    return found


class InvertedBottleneck(nn.Module):
    """Expand (1x1), filter each channel, reduce (1x1); added to its input if alike.

    Shape:
        (B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, block: Block):
        super().__init__()
        wide = block.inputs * block.expansion
        self.expand = nn.Conv2d(block.inputs, wide, 1) if block.expansion > 1 else None
        self.depthwise = nn.Conv2d(
            wide,
            wide,
            block.kernel,
            block.stride,
            padding=block.kernel // 2,
            groups=wide,
        )
        self.project = nn.Conv2d(wide, block.outputs, 1)
        self.adds = block.stride == 1 and block.inputs == block.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the block."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.adds else y


def white_scaled(images: Tensor, *, block: int = 8, white: float = 0.96) -> Tensor:
    """Scale every channel of an image so that its brightest square is white.

    In a smear that is the background: what is left of the colour is the stain's, not
    the lamp's or the camera's.

    Args:
        images: from 0 to 1.
        block: side of the squares whose mean counts, in pixels.
        white: value that the brightest square gets.

    Shape:
        (B, 3, H, W) -> (B, 3, H, W), from 0 to 1.
    """
    brightest = F.avg_pool2d(images, block).amax(dim=(2, 3), keepdim=True)
    return (images * (white / brightest.clamp(min=0.08))).clamp(0, 1)


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """The convolutions of EfficientNet-Lite0 on an image whose background is white.

    The batch norms of the published weights are part of the convolutions: a stain that
    training never showed does not meet statistics of other stains. Weights start as
    PyTorch's, unless ``init_cfg`` loads others.

    Args:
        white_balance: apply ``white_scaled`` first.
        init_cfg: mmengine initialisation, for instance ``leuko_mm.EncoderWeights``.

    Shape:
        RGB (B, 3, H, W) from 0 to 1 -> one map (B, 320, H / 32, W / 32), rounded up.

    Reference:
        Tan and Le, EfficientNet, ICML 2019, in the variant "Lite" of its authors (no
        squeeze-and-excitation, ReLU6). Differs: norms are folded into the
        convolutions; the last 1x1 convolution and the classifier are left out.
    """

    out_channels = blocks()[-1].outputs

    def __init__(
        self, *, white_balance: bool = True, init_cfg: dict | list[dict] | None = None
    ):
        super().__init__(init_cfg)
        self.white_balance = white_balance
        self.stem = nn.Conv2d(3, STEM, 3, 2, padding=1)
        self.blocks = nn.Sequential(*map(InvertedBottleneck, blocks()))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return the map of the last block."""
        if self.white_balance:
            images = white_scaled(images)
        mean, std = (images.new_tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
        return (self.blocks(F.relu6(self.stem((images - mean) / std))),)
