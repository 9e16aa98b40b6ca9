"""Stop between two iterations when asked to, with the state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import Hook
from mmengine.runner import Runner

from leuko_mm.engine.checkpoint_files import save_state
from leuko_mm.errors import LeukoError


class Interrupted(LeukoError):  # noqa: N818 - not an error, an order
    """The run was asked to stop; its state is saved.

    Args:
        number: the signal.
        work_dir: where the state is.
        go_on: says how to go on.
    """

    def __init__(
        self, number: int, work_dir: Path, *, go_on: str = "go on with --resume"
    ):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state is saved in "
            f"{work_dir}, {go_on}"
        )
        self.exit_code = 128 + number


def _is_of_workers(error: Exception) -> bool:
    broken_off = isinstance(error, (ConnectionError, EOFError))
    return broken_off or "DataLoader worker" in str(error)


class GracefulStopHook(Hook):
    """Save a checkpoint and raise ``Interrupted`` after SIGINT or SIGTERM.

    The signal is answered at the end of the iteration it falls into, after every other
    hook: a checkpoint written in the middle would hold half a step. Where several
    processes train together, a signal to one stops all of them at the same iteration.

    Args:
        work_dir: folder of the checkpoint.
        go_on: tells the user how to go on.
    """

    priority = "LOWEST"

    def __init__(self, work_dir: Path, *, go_on: str = "go on with --resume"):
        self.work_dir, self.go_on = Path(work_dir), go_on
        self._received = 0
        self._former: dict = {}

    @contextmanager
    def listening(self, runner: Runner) -> Iterator[None]:
        """Take over both signals while ``runner`` trains.

        Where the training fails they stay taken over until ``give_back``: torchrun asks
        every process to end as soon as one of them has, and would else cut off what the
        others have to say of it.

        Python lets only the main thread take them over; in another one nothing happens.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._former = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Workers that the signal ended while the loop waited for their data, or
            # took it over: the model stands between two steps.
            if not self._received or not _is_of_workers(error):
                raise
            save_state(runner, runner.iter)
            raise self._order(self._received) from error
        self.give_back()

    def give_back(self) -> None:
        """Return the signals that are still taken over to their former handlers."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame) -> None:
        self._received = number
        # A signal to the whole process group, as from `timeout` or a batch system, ends
        # the data workers too; torch would raise at once, in the middle of a step.
        child = getattr(signal, "SIGCHLD", None)
        if child is not None and child not in self._former:
            self._former[child] = signal.signal(child, lambda number, frame: None)

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Answer a signal that came during the iteration."""
        received = torch.tensor(self._received)
        all_reduce(received, op="max")
        if not received:
            return
        # The loop counts the iteration after its hooks.
        save_state(runner, runner.iter + 1)
        # A process that ended now could take the one that saves along.
        barrier()
        raise self._order(int(received))

    def _order(self, number: int) -> Interrupted:
        return Interrupted(number, self.work_dir, go_on=self.go_on)
