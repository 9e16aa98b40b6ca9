"""Stand between a training and its data, and keep the state where the data ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner import Runner

# Windows has none; there torch looks at its workers every few seconds.
CHILD_ENDED = getattr(signal, "SIGCHLD", None)


class DataWatch:
    """Hand a training's batches on, and save its state when there is no next one.

    While the next batch is waited for, the model stands between two steps: whatever
    fails then, be it a worker that was killed or a dataset that is gone, need not cost
    the steps since the last state.

    A worker that dies meanwhile must not end the step that runs: torch raises in the
    middle of it, where nothing can be saved. Its death is noted, and told when its
    data is asked for.

    Args:
        save: writes the state after so many iterations.
        asked_to_stop: tells whether a signal is about to end the training.

    Attributes:
        failed: whether it was the data that ended the training.
        saved: whether the state could be written then.
    """

    def __init__(
        self,
        save: Callable[[Runner, int], None],
        *,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ):
        self.failed = self.saved = False
        self._save, self._asked_to_stop = save, asked_to_stop
        self._batches: Any = None
        self._runner: Runner | None = None
        self._began: int | None = None
        self._waits = self._child_ended = False
        self._former: Callable | None = None

    @contextmanager
    def watching(self, runner: Runner) -> Iterator[None]:
        """Watch a runner's data while it trains; ``give_back`` when it is over.

        Loops that count epochs fetch their data where nobody can stand between; of
        them the last state is kept, as of any other failure.
        """
        loop = runner.train_loop
        self._batches, self._runner = getattr(loop, "dataloader_iterator", None), runner
        if self._batches is None:
            yield
            return
        loop.dataloader_iterator = self
        try:
            yield
        finally:
            loop.dataloader_iterator = self._batches

    def give_back(self) -> None:
        """Let torch tell of the ends of children again."""
        if self._former is not None:
            signal.signal(CHILD_ENDED, self._former)
            self._former = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __iter__(self) -> DataWatch:
        return self

    def __next__(self) -> Any:
        if self._began is None:
            self._began = self._runner.iter
        try:
            self._waits = True
            self._tell_of_children()
            batch = next(self._batches)
            self._waits = False
        except Exception:
            self._waits = False
            self.failed = True
            self._keep()
            raise
        self._listen()
        return batch

    def _keep(self) -> None:
        """Save what was learnt here; the states that were there are kept anyway."""
        runner = self._runner
        if runner.iter == self._began or self._asked_to_stop():
            return
        try:
            self._save(runner, runner.iter)
            self.saved = True
        except Exception as error:  # the first failure is the one to tell
            runner.logger.warning("the state could not be saved either: %s", error)

    def _listen(self) -> None:
        """Take over from torch, which begins to listen when it starts its workers."""
        if CHILD_ENDED is None or self._former is not None or self._asked_to_stop():
            return
        if threading.current_thread() is not threading.main_thread():
            return
        torchs = signal.getsignal(CHILD_ENDED)
        if callable(torchs):
            self._former = torchs
            signal.signal(CHILD_ENDED, self._on_child)

    def _on_child(self, number: int, frame) -> None:
        if self._waits:
            self._former(number, frame)
        else:
            self._child_ended = True

    def _tell_of_children(self) -> None:
        if self._child_ended:
            self._child_ended = False
            self._former(CHILD_ENDED, None)
