"""What the command of a training changed in its config."""

from __future__ import annotations

import shlex
from itertools import takewhile

# Options that say what a run is called, what it is tested on, and how it is read.
OF_THE_TEST = ("variant=", "test_dataloader.", "model.type=", "model.test_cfg.")


def training_options(command: str) -> list[str]:
    """Return what a run's command changes in the config of its training.

    What tells how images of a test are made and how the answer is read is said
    elsewhere, so it is left out.

    Args:
        command: ``leuko train ... --cfg-options KEY=VALUE ...``.

    Example:
        >>> words = "variant=fast optim_wrapper.paramwise_cfg.lr_mult=0.3 --seed 1"
        >>> training_options(f"leuko train cbam_unet --cfg-options {words}")
        ['lr_mult=0.3']
    """
    _, _, behind = command.partition(" --cfg-options ")
    try:
        words = shlex.split(behind)
    except ValueError:  # no command that a shell would take, so nothing is known
        return []
    given = takewhile(lambda word: not word.startswith("--"), words)
    kept = (option for option in given if not option.startswith(OF_THE_TEST))
    return [_short(*option.partition("=")) for option in kept]


def _short(key: str, equals: str, value: str) -> str:
    """Return an option without what its last key stands in."""
    return f"{key.rpartition('.')[2]}{equals}{value}"
