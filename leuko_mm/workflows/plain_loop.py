"""mmengine's plain training loop: the same arithmetic without what makes it fast."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from torch import nn

from leuko_mm.errors import UsageError
from leuko_mm.models.cbam import CBAM
from leuko_mm.workflows.precision import WRAPPER

# How an optimiser computes, not what.
WAYS = ("fused", "foreach", "capturable")
LAYOUT_HOOK, FREEZE_HOOK = "leuko_mm.ChannelsLastHook", "leuko_mm.StagedFreezeHook"


def make_plain(config: Config, *, amp: bool | None = None) -> None:
    """Turn off, in place, all that only makes a training faster.

    Float32 in mmengine's own ``OptimWrapper``, maps in the contiguous layout, Adam's
    usual step, no maps that are remembered. What is learnt, in which order and at which
    rates, stays; the learning rates of a pretrained encoder, too.

    Args:
        config: resolved. An optimiser wrapper that is not ours is left as it is.
        amp: what the user said of bfloat16.

    Raises:
        UsageError: if bfloat16 is asked for.
    """
    if amp:
        raise UsageError("--plain trains in float32; remove --amp or --plain")
    wrapper = config.optim_wrapper
    if wrapper.get("type") == WRAPPER:
        # Not ``update``, which would merge the old optimiser into the new one.
        for key, value in plain_optimiser(wrapper).items():
            wrapper[key] = value
        wrapper.pop("enabled", None)
        wrapper.pop("fused", None)
    hooks = config.get("custom_hooks") or []
    config.custom_hooks = [hook for hook in hooks if hook.get("type") != LAYOUT_HOOK]
    for hook in config.custom_hooks:
        if hook.get("type") == FREEZE_HOOK:
            hook.cache_mib = 0


def plain_optimiser(wrapper: Mapping) -> dict:
    """Return the wrapper and optimiser as mmengine builds them where nothing is asked.

    Args:
        wrapper: of a config, with its ``optimizer``.

    Example:
        >>> fast = dict(type="AdamW", lr=0.1, fused=True)
        >>> plain_optimiser(dict(type="leuko_mm.AutocastOptimWrapper", optimizer=fast))
        {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 0.1}}
    """
    kept = {k: given for k, given in wrapper["optimizer"].items() if k not in WAYS}
    return dict(type="OptimWrapper", optimizer=kept)


def make_model_plain(model: nn.Module) -> None:
    """Let the attention of a model take autograd's own passes back, in place.

    Example:
        >>> block = CBAM(16)
        >>> make_model_plain(nn.Sequential(block))
        >>> block.one_pass
        False
    """
    for part in model.modules():
        if isinstance(part, CBAM):
            part.one_pass = False
