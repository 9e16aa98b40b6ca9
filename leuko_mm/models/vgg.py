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


def kept_convs(depth: int, convs: Sequence[int] | None) -> tuple[int, ...]:
    """Return how many convolutions each stage has, of a network cut off at ``convs``.

    Args:
        depth: 11, 13, 16 or 19 layers.
        convs: convolutions to keep of the first stages; None: all of all.

    Raises:
        ValueError: if ``convs`` is empty, or not within what the depth has.

    Example:
        >>> kept_convs(16, None), kept_convs(16, (2, 2, 1))
        ((2, 2, 3, 3, 3), (2, 2, 1))
    """
    whole = CONVS_PER_STAGE[depth]
    if convs is None:
        return whole
    kept = tuple(convs)
    if not 0 < len(kept) <= len(whole) or not all(
        1 <= ours <= theirs for ours, theirs in zip(kept, whole, strict=False)
    ):
        raise ValueError(
            f"VGG got convs={list(kept)}; depth {depth} has {list(whole)}, of which "
            "each stage can keep one or more"
        )
    return kept


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
        convs: convolutions that are kept of each stage, from the first; stages that
            are not named are left out. None: all. A network of the first layers keeps
            the names, so that a whole one's weights fit it.
        shrink: the image is first shrunk by this factor, to the means of squares; 2
            halves every map, and costs a quarter.
        frozen_stages: the first stages that never learn, from none to all; no gradient
            is computed for them. Batch norms, which would go on counting, need 0.
        batch_norm: normalise after each convolution (torchvision's ``vgg16_bn``).
        init_cfg: mmengine initialisation, for instance ``Pretrained``.

    Shape:
        (B, in_channels, H, W) -> a map a stage, the i-th (B, out_channels[i],
        H // shrink // 2**i, W // shrink // 2**i). With five stages H and W are at
        least 16 times ``shrink``.

    Raises:
        ValueError: if ``depth`` is unknown, ``width`` or ``shrink`` is not positive,
            ``convs`` asks for more than the depth has, ``frozen_stages`` for stages
            that are not there, or the image is too small to be halved between them.

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
            raise ValueError(
                f"VGG got shrink={shrink}; give 1 for none, or a whole factor"
            )
        kept = kept_convs(depth, convs)
        self.out_channels = scaled_channels(width)[: len(kept)]
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
        self._start_weights()
        self._freeze(frozen_stages, batch_norm)

    def _start_weights(self) -> None:
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                kaiming_init(module, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                constant_init(module, 1)

    def _freeze(self, stages: int, batch_norm: bool) -> None:
        most = 0 if batch_norm else len(self.tap_indices)
        if not 0 <= stages <= most:
            raise ValueError(
                f"VGG got frozen_stages={stages}; this one can freeze 0 to {most}"
                + (", since it has batch norms" if batch_norm else "")
            )
        layers = self.tap_indices[stages - 1] + 1 if stages else 0
        self.features[:layers].requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, finest first."""
        smallest = self.shrink * 2 ** (len(self.out_channels) - 1)
        if min(image.shape[-2:]) < smallest:
            raise ValueError(
                f"VGG got an image of shape {tuple(image.shape)}; height and width "
                f"must be at least {smallest} pixels: resize or pad it"
            )
        maps = []
        x = image
        if self.shrink > 1:
            x = F.avg_pool2d(image, self.shrink)
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.tap_indices:
                maps.append(x)
        return tuple(maps)
