"""ResNet as the encoder of a U-Net, with the map before its first pooling."""

from __future__ import annotations

from mmseg.models.backbones import ResNet
from torch import Tensor

from leuko_mm.registry import MODELS

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
