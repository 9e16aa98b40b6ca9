"""Encoders of U-Nets: one feature map a scale, taken before each pooling."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule, kaiming_init
from mmseg.models.backbones import ResNet
from torch import Tensor, nn
from torch.nn import functional as F

from leuko_mm.registry import MODELS

STAGE_CHANNELS = (64, 128, 256, 512, 512)
CONVS_PER_STAGE = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNEL_MULTIPLE = 8  # widths that CPU and GPU convolution kernels fill


def _scaled_channels(width: float | Sequence[float]) -> tuple[int, ...]:
    several = isinstance(width, Sequence)
    widths = tuple(width) if several else (width,) * len(STAGE_CHANNELS)
    if len(widths) != len(STAGE_CHANNELS) or min(widths) <= 0:
        raise ValueError(
            f"VGG got width={width}; give a positive multiplier, or one for each of "
            f"its {len(STAGE_CHANNELS)} stages"
        )
    return tuple(
        max(1, round(c * w / CHANNEL_MULTIPLE)) * CHANNEL_MULTIPLE
        for c, w in zip(STAGE_CHANNELS, widths, strict=True)
    )


def _kept_convs(depth: int, convs: Sequence[int] | None) -> tuple[int, ...]:
    whole = CONVS_PER_STAGE[depth]
    if convs is None:
        return whole
    kept = tuple(convs)
    if not 0 < len(kept) <= len(whole) or not all(
        1 <= count <= most for count, most in zip(kept, whole, strict=False)
    ):
        raise ValueError(
            f"VGG got convs={list(kept)}; depth {depth} has {list(whole)}, of which "
            "each stage can keep one or more"
        )
    return kept


@MODELS.register_module()
class VGG(BaseModule):
    """The convolutions of VGG, returning the map of every scale before its pooling.

    The keys of the state dict are torchvision's (``features.N.weight``). The fifth
    pooling and the classifier are left out. Weights start Kaiming-normal (fan out,
    ReLU) with zero bias, unless ``init_cfg`` loads others.

    Args:
        depth: 11, 13, 16 or 19 layers.
        in_channels: channels of the image.
        width: multiplier on every stage's channels, or one a stage, finest first;
            the results are rounded to a multiple of 8. Pretrained weights need 1.0.
        convs: convolutions to keep in each stage, from the first; further stages are
            left out. None: all. The keys stay, so that the whole network's weights fit.
        shrink: the image is first reduced by this factor, by average pooling; 2 halves
            every map, at a quarter of the cost.
        frozen_stages: how many of the first stages never learn; no gradient is computed
            for them. With batch norms, which would still update, 0.
        batch_norm: normalise after each convolution (torchvision's ``vgg16_bn``).
        init_cfg: mmengine initialisation, for instance ``Pretrained``.

    Shape:
        (B, in_channels, H, W) -> a map a stage, the i-th (B, out_channels[i],
        H // shrink // 2**i, W // shrink // 2**i). With five stages H and W are at
        least 16 times ``shrink``.

    Raises:
        ValueError: if ``depth`` is unknown, ``width`` or ``shrink`` is not positive,
            ``convs`` asks for more than the depth has, ``frozen_stages`` for stages
            that do not exist, or the image is too small.

    Reference:
        Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015.
        Differs: no fifth pooling, no classifier; skips are taken after the last
        ReLU of each stage (conv1_2, 2_2, 3_3, 4_3 and 5_3 for depth 16).
    """

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        *,
        width: float | Sequence[float] = 1.0,
        convs: Sequence[int] | None = None,
        shrink: int = 1,
        frozen_stages: int = 0,
        batch_norm: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in CONVS_PER_STAGE:
            raise ValueError(
                f"VGG got depth={depth}; choose one of {sorted(CONVS_PER_STAGE)}"
            )
        if shrink < 1:
            raise ValueError(f"VGG got shrink={shrink}; give 1 or a whole factor")
        kept = _kept_convs(depth, convs)
        self.out_channels = _scaled_channels(width)[: len(kept)]
        self.shrink = shrink
        layers: list[nn.Module] = []
        self.tap_indices: list[int] = []
        previous = in_channels
        for count, channels in zip(kept, self.out_channels, strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers.append(nn.Conv2d(previous, channels, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
                previous = channels
            self.tap_indices.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                kaiming_init(module, mode="fan_out", nonlinearity="relu")
        most = 0 if batch_norm else len(kept)
        if not 0 <= frozen_stages <= most:
            raise ValueError(
                f"VGG got frozen_stages={frozen_stages}; this one can freeze 0 to "
                f"{most}" + (", since it has batch norms" if batch_norm else "")
            )
        if frozen_stages:
            frozen = self.features[: self.tap_indices[frozen_stages - 1] + 1]
            frozen.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        smallest = self.shrink * 2 ** (len(self.out_channels) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ValueError(
                f"VGG got an image of shape {tuple(image.shape)}; height and width "
                f"must be at least {smallest} pixels: resize or pad it"
            )
        maps = []
        x = F.avg_pool2d(image, self.shrink) if self.shrink > 1 else image
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.tap_indices:
                maps.append(x)
        return tuple(maps)


STEM_CHANNELS = 64


@MODELS.register_module()
class SkipResNet(ResNet):
    """MMSegmentation's ResNet, whose first returned map is the stem's, at half size.

    The stem's map (convolution, norm, ReLU) is the finest that a ResNet has: a decoder
    on these maps ends at half the image's size, so ``UNetHead`` needs
    ``final_upsample=2``.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        norm_cfg: norm layer.
        norm_eval: keep the stored statistics of the norms while training.
        style: ``caffe`` (stride in the first 1x1 convolution of a block) or
            ``pytorch`` (in the 3x3 convolution); the weights decide.
        init_cfg: mmengine initialisation, for instance ``leuko_mm.EncoderWeights``.

    Shape:
        (B, 3, H, W) -> five maps of strides 2, 4, 8, 16, 32; their channels are
        ``out_channels``, (64, 256, 512, 1024, 2048) for depth 50.

    Reference:
        He et al., Deep residual learning, CVPR 2016; Zhu et al., Improved U-net-based
        leukocyte segmentation method, Table 4, which does not say where the skips are
        taken: these five maps give the decoder inputs 192, 512, 1024 and 3072 of the
        public U-Net trainers whose schedule it shares. Differs: nothing else.
    """

    def __init__(
        self,
        depth: int,
        *,
        norm_cfg: dict | None = None,
        norm_eval: bool = False,
        style: str = "pytorch",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            depth,
            norm_cfg=norm_cfg or {"type": "BN"},
            norm_eval=norm_eval,
            style=style,
            init_cfg=init_cfg,
        )
        deepest = self.feat_dim
        self.out_channels = (
            STEM_CHANNELS,
            *(deepest // factor for factor in (8, 4, 2, 1)),
        )

    def train(self, mode: bool = True) -> SkipResNet:
        """Set the mode and return the model; MMSegmentation's returns None."""
        super().train(mode)
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the five maps, finest first."""
        stem = self.relu(self.norm1(self.conv1(image)))
        maps = [stem]
        x = self.maxpool(stem)
        for name in self.res_layers:
            x = getattr(self, name)(x)
            maps.append(x)
        return tuple(maps)
