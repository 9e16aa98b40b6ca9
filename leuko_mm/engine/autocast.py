"""Mixed precision on any device, CPUs included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from leuko_mm.engine.fused_step import fuse_step
from leuko_mm.registry import OPTIM_WRAPPERS


def bfloat16_helps() -> bool:
    """Whether bfloat16 is faster than float32 on this machine.

    True for CUDA devices with bfloat16 and for CPUs whose vector units multiply it
    (AVX-512 BF16 or AMX); elsewhere bfloat16 is emulated and slower.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch cannot tell; float32 is right everywhere.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights stay float32.

    mmengine's ``AmpOptimWrapper`` refuses CPUs. Bfloat16 has float32's range, so no
    loss scaling is needed on any device.

    Args:
        enabled: False gives plain float32 with the same class; None, bfloat16 where
            it helps, see ``bfloat16_helps``.
        fused: let Adam and AdamW step in one pass, on any device; see ``fuse_step``.
        **kwargs: for ``mmengine.optim.OptimWrapper``.
    """

    def __init__(self, *, enabled: bool | None = None, fused: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.enabled = bfloat16_helps() if enabled is None else enabled
        if fused:
            fuse_step(self.optimizer)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Hold the autocast context for one forward pass."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16, enabled=self.enabled),
        ):
            yield
