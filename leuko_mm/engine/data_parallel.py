"""What data-parallel training needs beyond mmengine's runner."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmengine.model import MMSeparateDistributedDataParallel, is_model_wrapper
from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside its data-parallel wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def wrap_again(runner) -> None:
    """Wrap the runner's model again, after its parameters have changed their kind.

    The wrapper notes at construction which parameters take a gradient and how each
    lies in memory. After a thaw it would leave the thawed ones out, and they would
    silently drift apart between the processes; after a change of memory format it
    puts the first gradients into the wrong places. Every process must call this.

    Raises:
        ValueError: if the model is wrapped for another kind of training, which this
            cannot repeat.
    """
    wrapper = runner.model
    if not is_model_wrapper(wrapper) or isinstance(wrapper, DataParallel):
        return
    # mmengine's wrapper of each part separately has wrapped the parts in place.
    if not isinstance(wrapper, DistributedDataParallel) or isinstance(
        wrapper, MMSeparateDistributedDataParallel
    ):
        raise ValueError(
            f"the model is wrapped in {type(wrapper).__name__}, which notes its "
            "parameters for good; freezing in stages and channels-last need "
            "MMDistributedDataParallel"
        )
    training = wrapper.training
    runner.model = runner.wrap_model(
        runner.cfg.get("model_wrapper_cfg"), wrapper.module
    )
    # Not train(): parts may be in another mode than the whole.
    runner.model.training = training
    if "train_step" in vars(wrapper):  # compiled, and lost with the old wrapper
        runner._maybe_compile("train_step")


def prepare_launcher(config: Config) -> None:
    """Let ``launcher="pytorch"`` start on a machine without a GPU.

    mmengine asks CUDA for this process's device there. So the processes meet here,
    over gloo, before the runner does it; ``model_wrapper_cfg`` is added to the config.
    Does nothing for other launchers and where there is a GPU.

    Args:
        config: the runner's, changed in place.
    """
    if config.get("launcher", "none") != "pytorch" or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    config.setdefault(
        "model_wrapper_cfg",
        dict(
            type="MMDistributedDataParallel",
            device_ids=None,
            # As mmengine's own default: every process keeps its own statistics.
            broadcast_buffers=False,
        ),
    )
