"""Seconds of an iteration and of what is left, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook, IterTimerHook

THEIRS = "IterTimerHook"


class SteadyTimerHook(IterTimerHook):
    """mmengine's timer on ``time.monotonic``.

    It subtracts times of day, so that a clock that is set while a training runs leaves
    negative times in the log and decades in the estimate of what is left.
    """

    def _before_epoch(self, runner, mode: str = "train") -> None:
        self.t = time.monotonic()

    def _before_iter(
        self, runner, batch_idx, data_batch=None, mode: str = "train"
    ) -> None:
        waited = time.monotonic() - self.t
        runner.message_hub.update_scalar(f"{mode}/data_time", waited)

    def _after_iter(
        self, runner, batch_idx, data_batch=None, outputs=None, mode: str = "train"
    ) -> None:
        now = time.monotonic()
        took, self.t = now - self.t, now
        runner.message_hub.update_scalar(f"{mode}/time", took)
        if mode == "train":
            self.time_sec_tot += took
            spent, done = self.time_sec_tot, runner.iter - self.start_iter + 1
            left = runner.max_iters - runner.iter - 1
        else:
            self.time_sec_test_val += took
            spent, done = self.time_sec_test_val, batch_idx + 1
            left = len(getattr(runner, f"{mode}_dataloader")) - done
        runner.message_hub.update_info("eta", spent / done * left)


def with_steady_timer(hooks: Mapping[str, Any] | None) -> dict[str, Hook | dict]:
    """Return a config's ``default_hooks`` with our timer in place of mmengine's.

    Not in the config itself, whose sha256 tells runs from others.

    Example:
        >>> type(with_steady_timer(None)["timer"]).__name__
        'SteadyTimerHook'
        >>> with_steady_timer(dict(timer=None))
        {'timer': None}
    """
    hooks = dict(hooks or {})
    timer = hooks.get("timer", dict(type=THEIRS))
    if isinstance(timer, Mapping) and timer.get("type") == THEIRS:
        hooks["timer"] = SteadyTimerHook()
    return hooks
