"""Stop between two iterations when asked to, with the state saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.hooks import Hook


class Interrupted(Exception):  # noqa: N818 - not an error, an order
    """The run was asked to stop; its state is saved.

    Args:
        number: the signal.
        work_dir: where the state is.
    """

    def __init__(self, number: int, work_dir: Path):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state is saved in "
            f"{work_dir}, go on with --resume"
        )
        self.exit_code = 128 + number


class GracefulStopHook(Hook):
    """Save a checkpoint and raise ``Interrupted`` after SIGINT or SIGTERM.

    The signal is answered at the end of the iteration it falls into, after every other
    hook: a checkpoint written in the middle would hold half a step.

    Args:
        work_dir: folder of the checkpoint.
    """

    priority = "LOWEST"

    def __init__(self, work_dir: Path):
        self.work_dir = Path(work_dir)
        self._received: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take over both signals for a while."""
        former = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        self._received = number

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        """Answer a signal that came during the iteration."""
        if self._received is None:
            return
        # The loop counts the iteration after its hooks; the checkpoint's own record
        # counts it already.
        name = f"iter_{runner.iter + 1}.pth"
        runner.save_checkpoint(str(self.work_dir), name, by_epoch=False)
        (self.work_dir / "last_checkpoint").write_text(str(self.work_dir / name))
        raise Interrupted(self._received, self.work_dir)
