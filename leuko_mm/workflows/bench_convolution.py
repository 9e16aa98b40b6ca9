"""How fast this machine convolves: what a network's own rate is held against.

Four 3x3 convolutions with the same arithmetic each, as the stages of VGG have them,
from 64 channels on the whole image to 512 on an eighth of its side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F

CHANNELS = (64, 128, 256, 512)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {
    "contiguous": torch.contiguous_format,
    "channels-last": torch.channels_last,
}


def build(spec: Mapping) -> Callable[[], object]:
    """Return a call that does the convolutions once, and their gradients in training.

    Args:
        spec: ``job``, ``batch``, ``size`` in pixels, ``precision``, ``layout`` and
            ``device``.
    """
    backward = spec["job"] == "train"
    dtype, layout = DTYPES[spec["precision"]], LAYOUTS[spec["layout"]]
    pairs = []
    for place, channels in enumerate(CHANNELS):
        side = max(spec["size"] // 2**place, 1)
        shapes = ((spec["batch"], channels, side, side), (channels, channels, 3, 3))
        maps, weight = (
            torch.randn(shape, dtype=dtype, device=spec["device"])
            .contiguous(memory_format=layout)
            .requires_grad_(backward)
            for shape in shapes
        )
        pairs.append((maps, weight, torch.ones_like(maps)))

    def once() -> None:
        for maps, weight, gradient in pairs:
            result = F.conv2d(maps, weight, padding=1)
            if backward:
                torch.autograd.grad(result, (maps, weight), gradient)

    return once
