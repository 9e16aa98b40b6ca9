"""What happens around a training step: freezing, precision, weights, checkpoints."""

from leuko_mm.engine.checkpoints import use_safe_loading
from leuko_mm.engine.encoder_weights import EncoderWeights
from leuko_mm.engine.hooks import FiniteLossHook
from leuko_mm.engine.optim import (
    AutocastOptimWrapper,
    ChannelsLastHook,
    EncoderLrConstructor,
    WeightAveragingHook,
)
from leuko_mm.engine.staged_freeze import StagedFreezeHook

__all__ = [
    "AutocastOptimWrapper",
    "ChannelsLastHook",
    "EncoderLrConstructor",
    "EncoderWeights",
    "FiniteLossHook",
    "StagedFreezeHook",
    "WeightAveragingHook",
]

# Here, so that nothing of ours is ever used with mmengine's trusting loader.
use_safe_loading()
