"""Find a full disk or a folder that cannot be written to before time is spent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from torch import nn

from leuko_mm.engine.checkpoint_files import training_states
from leuko_mm.errors import UsageError

# A training state holds weights and two averages of each, and their mean where one is
# made; three states may be there at once, two kept and one being written. Pictures,
# tables and the log take the rest.
STATE_COPIES, STATES_AT_ONCE, REST = 3, 3, 20_000_000


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to.

    Raises:
        UsageError: naming what is in the way.
    """
    there = _there_already(folder)
    if not there.is_dir():
        raise UsageError(f"{there} is a file, so {folder} cannot be made")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"{there} cannot be written to; choose another place with --work-dir"
        )


def check_room(folder: Path, model: nn.Module, *, averaged: bool = False) -> None:
    """Refuse a disk that has no room for the states of a training.

    Args:
        folder: where they will be; states that are there already make room for others.
        model: whose states they are.
        averaged: whether they hold the mean of the weights, too.

    Raises:
        UsageError: with the room that there is and the room that is needed.
    """
    tensors = model.state_dict().values()
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    needed = weights * (STATE_COPIES + averaged) * STATES_AT_ONCE + REST
    there = _there_already(folder)
    states = sum(state.stat().st_size for state in training_states(folder))
    free = shutil.disk_usage(there).free + states
    if free < needed:
        raise UsageError(
            f"the disk of {there} has {free / 1e6:.0f} MB left, and the training needs "
            f"up to {needed / 1e6:.0f} MB for its states; make room, or choose another "
            "place with --work-dir"
        )


def _there_already(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    return path
