"""One step up in a decoder: a map enlarged to the size of the next finer one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

UPSAMPLINGS = ("nearest", "bilinear", "deconv")


class Enlarge(nn.Module):
    """Enlarge a map to a given size, by interpolation or by a learnt 2x2 deconvolution.

    Args:
        channels: of the map; they stay.
        mode: ``nearest``, ``bilinear``, or ``deconv``, which only undoes a halving, up
            or down rounded: a size of 2n - 1, 2n or 2n + 1.
        align_corners: of the bilinear enlargement.

    Shape:
        (B, channels, H, W) and a size (h, w) -> (B, channels, h, w).

    Raises:
        ValueError: if the mode is unknown, or a deconvolution cannot give the size.

    Example:
        >>> import torch
        >>> Enlarge(4, "deconv")(torch.zeros(1, 4, 3, 5), (7, 10)).shape
        torch.Size([1, 4, 7, 10])
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
            # All that is left in an exported network: no length is taken for fixed.
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
