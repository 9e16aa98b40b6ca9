"""VGG as an encoder: one feature map a scale, taken before each pooling."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule, constant_init, kaiming_init
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


def scaled_channels(width: float | Sequence[float]) -> tuple[int, ...]:
    """Return VGG's five stage widths times ``width``, rounded to a multiple of 8.

    Args:
        width: above 0; one multiplier for all stages, or one a stage.

    Raises:
        ValueError: if a multiplier is not positive, or there are not five.

    Example:
        >>> scaled_channels(1.0), scaled_channels(0.25)
        ((64, 128, 256, 512, 512), (16, 32, 64, 128, 128))
        >>> scaled_channels((0.25, 0.25, 0.25, 0.25, 0.5))
        (16, 32, 64, 128, 256)
    """
    many = isinstance(width, Sequence)
    widths = tuple(width) if many else (width,) * len(STAGE_CHANNELS)
    if len(widths) != len(STAGE_CHANNELS) or min(widths) <= 0:
        raise ValueError(
            f"VGG got width={width}; give a positive multiplier, or one for each of "
            f"its {len(STAGE_CHANNELS)} stages"
        )
    return tuple(
        max(1, round(c * w / CHANNEL_MULTIPLE)) * CHANNEL_MULTIPLE
        for c, w in zip(STAGE_CHANNELS, widths, strict=True)
    )


@MODELS.register_module()
class VGG(BaseModule):
    """The convolutions of VGG, returning the map of every scale before its pooling.

    The keys of the state dict are torchvision's (``features.N.weight``), so the
    ``features`` of a torchvision checkpoint load with a strict key match. The
    fifth pooling and the classifier are left out. Weights start Kaiming-normal
    (fan out, ReLU) with zero bias, unless ``init_cfg`` loads others.

    Args:
        depth: 11, 13, 16 or 19 layers.
        in_channels: channels of the image.
        width: multiplier on every stage's channels, or one a stage, finest first;
            the results are rounded to a multiple of 8. Pretrained weights need 1.0.
        patch: side of the squares of pixels that the first convolution reads as one;
            2 halves every map, and costs a quarter. Pretrained weights need 1.
        batch_norm: normalise after each convolution (torchvision's ``vgg16_bn``).
        init_cfg: mmengine initialisation, for instance ``Pretrained``.

    Shape:
        (B, in_channels, H, W) -> five maps, the i-th (B, out_channels[i],
        H // patch // 2**i, W // patch // 2**i). H and W are multiples of ``patch``,
        and at least 16 times it.

    Raises:
        ValueError: if ``depth`` is unknown, ``width`` or ``patch`` is not positive, or
            the image is too small to be halved four times.

    Reference:
        Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015.
        Differs: no fifth pooling, no classifier; skips are taken after the last
        ReLU of each stage (conv1_2, 2_2, 3_3, 4_3 and 5_3 for depth 16).

    Example:
        >>> import torch
        >>> maps = VGG(width=0.125)(torch.zeros(1, 3, 32, 48))
        >>> [tuple(m.shape[1:]) for m in maps][:2]
        [(8, 32, 48), (16, 16, 24)]
    """

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        *,
        width: float | Sequence[float] = 1.0,
        patch: int = 1,
        batch_norm: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in CONVS_PER_STAGE:
            raise ValueError(
                f"VGG got depth={depth}; choose one of {sorted(CONVS_PER_STAGE)}"
            )
        if patch < 1:
            raise ValueError(f"VGG got patch={patch}; give 1 for none, or the side")
        self.out_channels, self.patch = scaled_channels(width), patch
        layers: list[nn.Module] = []
        self.tap_indices: list[int] = []
        previous = in_channels * patch**2
        for convs, channels in zip(
            CONVS_PER_STAGE[depth], self.out_channels, strict=True
        ):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convs):
                layers.append(nn.Conv2d(previous, channels, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
                previous = channels
            self.tap_indices.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self._start_weights()

    def _start_weights(self) -> None:
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                kaiming_init(module, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                constant_init(module, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the five maps, finest first."""
        smallest = self.patch * 2 ** (len(self.out_channels) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ValueError(
                f"VGG got an image of shape {tuple(image.shape)}; height and width "
                f"must be at least {smallest} pixels: resize or pad it"
            )
        maps = []
        x = image
        if self.patch > 1:  # (B, C, H, W) -> (B, C * patch**2, H / patch, W / patch)
            x = F.pixel_unshuffle(image, self.patch)
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.tap_indices:
                maps.append(x)
        return tuple(maps)
