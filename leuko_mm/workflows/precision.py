"""Whether a run multiplies in bfloat16: where it helps, or as its user says."""

from __future__ import annotations

from mmengine.config import Config

from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.errors import UsageError

WRAPPER = "leuko_mm.AutocastOptimWrapper"


def set_precision(config: Config, amp: bool | None) -> None:
    """Switch bfloat16 on or off, in place.

    Args:
        config: resolved.
        amp: on or off; None turns it on where it helps.

    Raises:
        UsageError: if it is asked for, and the config's optimiser cannot.
    """
    wrapper = config.optim_wrapper.get("type")
    if wrapper == WRAPPER:
        config.optim_wrapper.enabled = bfloat16_helps() if amp is None else amp
    elif amp:
        raise UsageError(
            f"--amp needs optim_wrapper.type {WRAPPER!r}, the config has {wrapper!r}"
        )
