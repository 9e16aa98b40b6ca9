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

    The wrapper notes at construction which parameters take a gradient and their memory
    layout. After a thaw it would leave the thawed ones out, and they would silently
    drift apart between the processes; after a change of memory format the first
    gradients would be wrong. Every process must call this.

    Raises:
        ValueError: if the wrapper is of a kind that cannot be made again.
    """
    wrapper = runner.model
    if not is_model_wrapper(wrapper) or isinstance(wrapper, DataParallel):
        return
    # MMSeparateDistributedDataParallel has wrapped each submodule in place.
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
    # Not train(): submodules may be in another mode than the whole.
    runner.model.training = training
    if "train_step" in vars(wrapper):  # compiled, and lost with the old wrapper
        runner._maybe_compile("train_step")


def prepare_launcher(config: Config) -> None:
    """Let ``launcher="pytorch"`` start on a machine without a GPU.

    mmengine asks CUDA for this process's device there, so the process group is made
    here, over gloo, before the runner does it. Does nothing for other launchers and
    where there is a GPU.

    Args:
        config: the runner's; ``model_wrapper_cfg`` is added to it.
    """
    if config.get("launcher", "none") != "pytorch" or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    # mmengine's own default: every process keeps its own statistics.
    wrapper["broadcast_buffers"] = False
    config.setdefault("model_wrapper_cfg", wrapper)
