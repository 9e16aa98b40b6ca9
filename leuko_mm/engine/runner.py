"""The runner of a training: its console and its processes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import MMSeparateDistributedDataParallel, is_model_wrapper
from mmengine.runner import Runner
from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside its data-parallel wrapper, or the model itself."""
    return model.module if is_model_wrapper(model) else model


def wrap_again(runner) -> None:
    """Wrap the runner's model again, after its parameters have changed their kind.

    The wrapper notes at construction which parameters take a gradient and their memory
    layout. Else thawed ones would drift apart between the processes, and after a change
    of layout the first gradients would be wrong. Every process must call this.

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
    here, over gloo, and ``model_wrapper_cfg`` is added to the runner's config.
    """
    if config.get("launcher", "none") != "pytorch" or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    # mmengine's own default: every process keeps its own statistics.
    wrapper["broadcast_buffers"] = False
    config.setdefault("model_wrapper_cfg", wrapper)


# Hundreds of lines before the first useful one, and what the command says itself.
FILE_ONLY = re.compile(
    r"\s*-*\s*System environment:"
    r"|Config:\n"
    r"|Hooks will be executed"
    r"|Distributed training is not used"
    r"|Exp name:"
    r"|\d+ test cells\n"
    r"|Iter\(test\) \[\d+/\d+\] +mIoU:"
)
# mmengine warns of its own use of itself.
INTERNAL_WARNING = re.compile(
    r'"FileClient" will be deprecated|"HardDiskBackend" is the alias'
)


class ConsoleFilter(logging.Filter):
    """Keep from the console what no user reads or can fix."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is for the console."""
        if record.levelno >= logging.ERROR:
            return True
        hidden = INTERNAL_WARNING if record.levelno >= logging.WARNING else FILE_ONLY
        return hidden.match(record.getMessage()) is None


@contextmanager
def closing_logs() -> Iterator[None]:
    """Close the log files of all runners that are made in a ``with`` block.

    mmengine keeps them open for as long as the process lives.
    """
    before = set(_log_files())
    try:
        yield
    finally:
        for logger in MMLogger._instance_dict.values():
            for handler in set(logger.handlers) & set(_log_files()) - before:
                logger.removeHandler(handler)
                handler.close()


def _log_files() -> list[logging.FileHandler]:
    handlers = (h for log in MMLogger._instance_dict.values() for h in log.handlers)
    return [h for h in handlers if isinstance(h, logging.FileHandler)]


class LegibleRunner(Runner):
    """mmengine's runner with ``ConsoleFilter`` before its console.

    It writes the copy of its config when it is asked to, not when it is built: a run
    that does not start leaves the copy of the one before.
    """

    def dump_config(self) -> None:
        """Write nothing yet."""

    def write_config(self) -> None:
        """Write the copy of the config into the run's folder."""
        super().dump_config()

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the run's logger, file and console, and filter the console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(ConsoleFilter())
        return logger
