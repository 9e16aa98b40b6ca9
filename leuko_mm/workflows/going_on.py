"""Which state a training goes on from, the same in all of its processes."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object

from leuko_mm.engine.checkpoint_files import newest_state
from leuko_mm.errors import UsageError

# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")


def go_on_from(config: Config, work_dir: Path) -> None:
    """Name the newest readable state; without one the training begins at its start."""
    state = newest_state(work_dir)
    config.resume = state is not None
    if state is None:
        LOGGER.warning(
            "nothing to resume in %s: the training begins at its start", work_dir
        )
    else:
        config.load_from = str(state)


def check_same_start(config: Config) -> None:
    """Refuse to train where not all processes go on from the same state.

    On machines that share no folder only the first process writes states. The others
    would begin at their start, and all would wait for each other for ever.

    Raises:
        UsageError: in every process, naming what each goes on from.
    """
    own = Path(config.load_from).name if config.get("resume") else None
    starts = all_gather_object(own)
    if len(set(starts)) == 1:
        return
    told = ", ".join(
        f"process {rank} {'goes on ' * (rank == 0)}from {start or 'its start'}"
        for rank, start in enumerate(starts)
    )
    raise UsageError(
        f"the processes would not go on from the same state: {told}; only process 0 "
        f"writes states: copy its newest one into {config.work_dir} on every machine, "
        "or share that folder"
    )
