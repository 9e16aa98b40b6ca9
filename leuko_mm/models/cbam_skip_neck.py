"""The neck that puts attention on the skips, and may go deeper than its encoder."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from leuko_mm.models.cbam import CBAM
from leuko_mm.registry import MODELS


def halving_stage(in_channels: int, channels: int) -> nn.Sequential:
    """Return a stage that halves a map: its maxima, a 1x1 and two 3x3 convolutions.

    Each convolution is followed by batch norm and ReLU, and starts Kaiming-normal.

    Args:
        in_channels: of the map above.
        channels: of all three convolutions.

    Shape:
        (B, in_channels, H, W) -> (B, channels, H / 2, W / 2), rounded up.

    Example:
        >>> import torch
        >>> halving_stage(8, 4)(torch.zeros(2, 8, 6, 9)).shape
        torch.Size([2, 4, 3, 5])
    """
    norm = {"type": "BN"}
    return nn.Sequential(
        # Rounded up: of the smallest images something is left.
        nn.MaxPool2d(2, ceil_mode=True),
        ConvModule(in_channels, channels, 1, norm_cfg=norm),
        ConvModule(channels, channels, 3, padding=1, norm_cfg=norm),
        ConvModule(channels, channels, 3, padding=1, norm_cfg=norm),
    )


@MODELS.register_module()
class CBAMSkipNeck(BaseModule):
    """Put a ``CBAM`` on the skips between an encoder and a decoder.

    Args:
        in_channels: channels of each map that the encoder returns.
        reduction: see ``CBAM``; every attended level must be divisible by it.
        kernel_size: see ``CBAM``.
        mlp_bias: see ``CBAM``.
        gate_norm: see ``CBAM``.
        gates: see ``CBAM``.
        skips: levels that get a block; None: all but the last, since the bottom
            map is no skip. The other levels pass untouched.
        deeper: channels of coarser maps to append, for an encoder that ends early; see
            ``halving_stage``. Each halves the one before it. They are levels as the
            encoder's are.
        init_cfg: mmengine initialisation.

    Shape:
        One map a level of the encoder, (B, in_channels[i], H_i, W_i) -> the same
        shapes, and those of ``deeper``.

    Raises:
        ValueError: as ``CBAM``, or if ``skips`` names a level that does not exist
            or the number of maps is not that of ``in_channels``.

    Reference:
        Zhu et al., Improved U-net-based leukocyte segmentation method, section
        2.2: four blocks in series form on the four skips. Differs: nothing, without
        ``deeper``.

    Example:
        >>> neck = CBAMSkipNeck([16, 32, 32])
        >>> list(neck.blocks)
        ['0', '1']
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        reduction: int = 16,
        *,
        kernel_size: int | None = 7,
        mlp_bias: bool = False,
        gate_norm: bool = False,
        gates: str = "serial",
        skips: Sequence[int] | None = None,
        deeper: Sequence[int] = (),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        channels = (*self.in_channels, *deeper)
        levels = len(channels)
        chosen = range(levels - 1) if skips is None else skips
        unknown = [level for level in chosen if not 0 <= level < levels]
        if unknown:
            raise ValueError(
                f"CBAMSkipNeck got skips={list(chosen)} for {levels} maps; the levels "
                f"are 0 to {levels - 1}"
            )
        self.deeper = nn.ModuleList(
            halving_stage(channels[level - 1], channels[level])
            for level in range(len(in_channels), levels)
        )
        self.blocks = nn.ModuleDict(
            {
                str(level): CBAM(
                    channels[level],
                    reduction,
                    kernel_size=kernel_size,
                    mlp_bias=mlp_bias,
                    gate_norm=gate_norm,
                    gates=gates,
                )
                for level in chosen
            }
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the maps, with the deeper ones, those of the chosen levels reweighted.

        The deeper maps are computed from the encoder's last one as it is.
        """
        if len(maps) != len(self.in_channels):
            raise ValueError(
                f"CBAMSkipNeck got {len(maps)} maps and was built for "
                f"{len(self.in_channels)}; set in_channels to the encoder's channels"
            )
        maps = list(maps)
        for stage in self.deeper:
            maps.append(stage(maps[-1]))
        return tuple(
            self.blocks[str(level)](x) if str(level) in self.blocks else x
            for level, x in enumerate(maps)
        )
