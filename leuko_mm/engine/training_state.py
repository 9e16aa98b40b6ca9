"""What a training state needs beyond mmengine's to go on as if nothing had been."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook

from leuko_mm.engine.safe_load import load_tensors

KEY = "leuko_mm"


def random_states() -> dict:
    """Return the states of all global generators, as plain numbers and tensors."""
    kind, words, *rest = np.random.get_state()
    return dict(
        python=random.getstate(),
        numpy=(kind, [int(word) for word in words], *rest),
        torch=torch.default_generator.get_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def restore_random_states(states: Mapping) -> None:
    """Put the global generators back to where ``random_states`` found them.

    Example:
        >>> states = random_states()
        >>> drawn = random.random(), np.random.rand(), torch.rand(1)
        >>> restore_random_states(states)
        >>> (random.random(), np.random.rand(), torch.rand(1)) == drawn
        True
    """
    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, np.array(words, dtype=np.uint32), *rest))
    torch.default_generator.set_state(states["torch"].cpu())
    # A machine with another number of GPUs draws afresh there.
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


def read_identity(state: Path) -> dict:
    """Return what run a training state says it belongs to, {} if it does not say."""
    return dict(load_tensors(state).get(KEY, {}).get("identity", {}))


class TrainingStateHook(Hook):
    """Keep in every checkpoint which run it is of, its random states, and its time.

    mmengine keeps weights, optimiser, schedule and the number of iterations; where
    dropout or a network's random start is drawn from, it does not keep.

    Args:
        identity: plain values that tell this run from others, such as the sha256 of
            its config and of its dataset.

    Attributes:
        started: seconds since the epoch, when the first part of the training began.
    """

    # The last before the first step, when loaders and other hooks have drawn.
    priority = "LOWEST"

    def __init__(self, identity: Mapping[str, str]):
        self.identity = dict(identity)
        self.started = time.time()
        self._former_s, self._since = 0.0, time.monotonic()
        self._pending: Mapping | None = None

    @property
    def trained_s(self) -> float:
        """Seconds of training up to now, those before resumptions included."""
        return self._former_s + time.monotonic() - self._since

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add what is kept."""
        checkpoint[KEY] = dict(
            identity=self.identity,
            started=self.started,
            trained_s=self.trained_s,
            random_states=random_states(),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take up the former part's time; its random states wait for the first step."""
        kept = checkpoint.get(KEY)
        # Weights to start from bring no history along.
        if kept is None or not runner._resume:
            return
        self.started, self._former_s = kept["started"], kept["trained_s"]
        self._pending = kept["random_states"]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Go on where the generators stood when the state was saved."""
        if self._pending is not None:
            restore_random_states(self._pending)
            self._pending = None
