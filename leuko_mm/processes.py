"""Several processes that share work: shards, launchers, and stopping on a signal."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from leuko_mm.errors import LeukoError, UsageError

Item = TypeVar("Item")
# The environment variables in which a launcher tells each process its number, how many
# there are, its number on the machine, and how many are on the machine.
LAUNCHERS = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""),
}
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# A process that is done waits for the slowest one, whose runs may take days.
PATIENCE = timedelta(days=60)


@dataclass(frozen=True)
class Share:
    """The part of the work that is this process's.

    A process that ``helps`` takes over what others have not started.
    """

    index: int = 0
    count: int = 1
    helps: bool = False

    def order(self, items: Sequence[Item]) -> list[Item]:
        """Return what this process does: its own part, then what it may help."""
        own = list(items[self.index :: self.count])
        if not self.helps:
            return own
        others = [x for i, x in enumerate(items) if i % self.count != self.index]
        # From the end: the others start at the front.
        return own + others[::-1]


def share_of(shard: str | None, launcher: str) -> Share:
    """Return this process's share, by ``--shard`` or by what the launcher says.

    Args:
        shard: ``i/n``, i from 0; for processes that know nothing of each other.
        launcher: ``none``, ``pytorch`` or ``slurm``.

    Raises:
        UsageError: if the two contradict, or do not say what is needed.
    """
    if launcher == "none":
        return _share_of_shard(shard) if shard else Share()
    if shard:
        raise UsageError("--shard and --launcher both divide the work; give one")
    rank, world, local, local_world = LAUNCHERS[launcher]
    if rank not in os.environ or world not in os.environ:
        start = "torchrun" if launcher == "pytorch" else "srun"
        raise UsageError(
            f"--launcher {launcher} needs {rank} and {world} in the environment; start "
            f"the command with {start}, or leave --launcher out"
        )
    import torch  # not at the top: counting cells with ONNX needs none

    if torch.cuda.is_available():
        device = int(os.environ.get(local, 0)) % torch.cuda.device_count()
        torch.cuda.set_device(device)
    count = int(os.environ[world])
    helps = os.environ.get(local_world) == str(count)
    return Share(int(os.environ[rank]), count, helps)


def _share_of_shard(shard: str) -> Share:
    index, slash, count = shard.partition("/")
    if slash and index.isdigit() and count.isdigit() and int(index) < int(count):
        return Share(int(index), int(count))
    raise UsageError(
        f"--shard is {shard!r}; expected i/n with i from 0 to n-1, such as 0/4"
    )


def gathered(outcomes: list, launcher: str) -> list:
    """Return the outcomes of all processes; wait for the slowest.

    torchrun ends every process as soon as one of them ends with an error, so that a
    process with a failed run must not leave before the others are done.
    """
    if launcher != "pytorch" or int(os.environ["WORLD_SIZE"]) == 1:
        return outcomes
    from torch import distributed

    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        parts: list = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, outcomes)
    finally:
        distributed.destroy_process_group()
    return [outcome for part in parts for outcome in part]


class StoppedBySignal(LeukoError):  # noqa: N818 - not an error
    """The work was asked to stop; what it has done, and its state, are kept."""

    def __init__(self, number: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; what is done is published and "
            "the state of the run is saved: give the same command again to go on"
        )
        self.exit_code = 128 + number


class _Terminated(BaseException):
    """SIGTERM outside of a training; no error, so that nothing takes it for one."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise ``StoppedBySignal`` on SIGINT and SIGTERM, wherever they arrive.

    A training has handlers of its own, and ends with an error of the same exit code.
    """

    def terminate(number: int, frame) -> None:
        raise _Terminated

    # Python lets only the main thread listen.
    listens = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGTERM, terminate) if listens else None
    try:
        yield
    except LeukoError as error:
        number = error.exit_code - 128
        if number not in (signal.SIGINT, signal.SIGTERM):
            raise
        raise StoppedBySignal(number) from None
    except KeyboardInterrupt:
        raise StoppedBySignal(signal.SIGINT) from None
    except _Terminated:
        raise StoppedBySignal(signal.SIGTERM) from None
    finally:
        if listens:
            signal.signal(signal.SIGTERM, former)


def keep_memory() -> bool:
    """Let this process reuse the memory of freed arrays; return whether it does.

    The process keeps the memory of its peak; docs/speed.md gives the gain. False where
    the C library is not glibc (macOS, Windows, musl).
    """
    try:
        library = ctypes.CDLL(None)
        # Only glibc has it; other libraries have a mallopt that does nothing.
        library.malloc_trim(0)
        return all(
            library.mallopt(option, value)
            for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
        )
    except (AttributeError, OSError, TypeError):
        return False
