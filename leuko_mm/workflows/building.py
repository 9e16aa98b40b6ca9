"""Build a run's parts, and turn what a config has wrong into one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.runner import Runner

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.checkpoint_files import save_states_whole
from leuko_mm.engine.data_parallel import prepare_launcher
from leuko_mm.engine.legible_runner import LegibleRunner
from leuko_mm.engine.safe_load import UnsafeCheckpointError
from leuko_mm.errors import UsageError
from leuko_mm.workflows.beginning import BeginningHook
from leuko_mm.workflows.opening import announce_training

# What the libraries raise when a config names or sets something that is not there;
# mmcv and mmseg check arguments by assertion.
BUILDING_ERRORS = (
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    ImportError,
    AssertionError,
)


def build_runner(config: Config) -> Runner:
    """Build the runner with everything it will need, hours before it needs it.

    Raises:
        UsageError: if a part of the config does not build.
    """
    with building_errors():
        prepare_launcher(config)
        runner = LegibleRunner.from_cfg(config)
        # Before the parts that follow say details of themselves.
        announce_training(runner, config)
        save_states_whole(runner)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        _ = runner.train_loop, runner.test_loop
    return runner


@contextmanager
def building_errors(beginning: BeginningHook | None = None) -> Iterator[None]:
    """Turn mistakes in a config, met while building, into one clear line.

    Args:
        beginning: tells when to let errors pass; None never does.

    Raises:
        UsageError: with what the failing part said; the cause stays attached.
    """
    try:
        yield
    except (DatasetError, UnsafeCheckpointError):
        raise
    except BUILDING_ERRORS as error:
        if beginning is not None and beginning.begun:
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(f"the config does not build: {message}") from error
