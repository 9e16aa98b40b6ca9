"""What happens around a training step: freezing, precision, weights, checkpoints."""

from leuko_mm.engine.autocast import AutocastOptimWrapper
from leuko_mm.engine.channels_last import ChannelsLastHook
from leuko_mm.engine.encoder_lr import EncoderLrConstructor
from leuko_mm.engine.encoder_weights import EncoderWeights
from leuko_mm.engine.finite_loss import FiniteLossHook
from leuko_mm.engine.safe_load import use_safe_loading
from leuko_mm.engine.staged_freeze import StagedFreezeHook
from leuko_mm.engine.weight_averaging import WeightAveragingHook

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
