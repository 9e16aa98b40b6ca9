"""What has ended a training, said so that its user can mend it and go on."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmengine.dist import get_rank, get_world_size

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.checkpoint_files import training_states
from leuko_mm.errors import LeukoError

# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")

WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: \w[\w ]*"
    r"|exited unexpectedly)"
)
MEMORY = re.compile(
    r"MemoryError|Insufficient memory|OutOfMemory|[Cc]an(?:no|')t allocate memory"
)
SHARED_MEMORY = re.compile(r"shared memory|/dev/shm|</?torch_\w+>|Bus error")
PEER = re.compile(
    r"gloo|nccl|Connection (?:closed|reset|refused)|Broken pipe|ProcessGroup|TCPStore"
    r"|DistBackendError|recvValue|Timed out",
    re.IGNORECASE,
)
# What torch says where the disk refuses a part of a file.
UNWRITTEN = re.compile(r"PytorchStreamWriter|inline_container|file write failed")
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class TrainingFaultError(LeukoError, RuntimeError):
    """Something around a training has ended it; its last state is kept."""

    exit_code = 1


@dataclass(frozen=True)
class Circumstances:
    """Where a training was when it failed.

    Args:
        work_dir: its output folder.
        data: folder of its dataset.
        fewer_workers: options that load the data without workers.
        waited: whether it waited for the data of the next step.
    """

    work_dir: Path
    data: Path
    fewer_workers: str = "--cfg-options train_dataloader.num_workers=0"
    waited: bool = False


def tell_how_to_go_on(error: Exception, where: Circumstances, *, go_on: str) -> None:
    """Raise what is known of a failure with the command that goes on after it.

    Of other failures the command alone is told, in a note to the error: their
    traceback is wanted. An error that says its exit code has said what to do.

    Args:
        error: what ended the training, after its first step has begun.
        where: the circumstances.
        go_on: says how to go on.

    Raises:
        TrainingFaultError: if the failure is one of ``FAULTS``.
    """
    if isinstance(error, LeukoError) and not isinstance(error, DatasetError):
        return
    states = training_states(where.work_dir)
    found = next((words for look in FAULTS if (words := look(error, where))), None)
    if found:
        kept = (
            f"The state after {states[0].stem.replace('_', ' ')} is in {where.work_dir}"
            if states
            else _no_state()
        )
        raise TrainingFaultError(f"{found}. {kept}; {go_on}") from error
    if not states:
        return
    words = f"the state of the training is saved; once the cause is mended, {go_on}"
    if hasattr(error, "add_note"):
        error.add_note(words)
    else:  # Python 3.10
        LOGGER.error(words)


def _no_state() -> str:
    # Machines need share no folder; only the first process writes states.
    if get_rank():
        return "The first process keeps the states; copy the newest one here as well"
    return "No state was saved before, so that it begins at its start"


def _lost_peer(error: Exception, where: Circumstances) -> str | None:
    if get_world_size() < 2 or not isinstance(error, (RuntimeError, ConnectionError)):
        return None
    if where.waited or not PEER.search(f"{type(error).__name__}: {error}"):
        return None
    # Without the line of the source that comes first, and the advice behind.
    said = re.sub(r"^\[[^\]]*\] *", "", _last_line(error)).split(". ")[0]
    return (
        f"another process of this training has ended or cannot be reached any more "
        f"({said}); its own message says why, or the system has killed it, as where "
        "memory runs out"
    )


def _full_shared_memory(error: Exception, where: Circumstances) -> str | None:
    if not where.waited or not SHARED_MEMORY.search(str(error)):
        return None
    return (
        "the shared memory through which data workers hand over batches is full; "
        "enlarge it (docker run --shm-size=2g), or load the data without workers: "
        f"{where.fewer_workers}"
    )


def _lost_worker(error: Exception, where: Circumstances) -> str | None:
    lost = WORKER.search(str(error))
    if not lost:
        return None
    how = lost[2].replace("is killed by signal", "was ended by the signal")
    return (
        f"the data worker of process id {lost[1].strip()} {how}; the system kills one "
        "where memory runs out: free some, or load the data without workers: "
        f"{where.fewer_workers}"
    )


def _no_memory(error: Exception, where: Circumstances) -> str | None:
    said = f"{type(error).__name__}: {error}"
    if not where.waited or not MEMORY.search(said):
        return None
    return (
        f"memory ran out while a batch was loaded ({_last_line(error)}); free some, "
        f"or load the data without workers: {where.fewer_workers}"
    )


def _lost_data(error: Exception, where: Circumstances) -> str | None:
    if not where.waited and not isinstance(error, (OSError, DatasetError)):
        return None
    if not (where.data / "dataset.json").is_file():
        return (
            f"the dataset {where.data} was there when the training began and is gone; "
            "bring it back (is its disk still mounted?)"
        )
    if where.waited and (isinstance(error, OSError) or "failed to load" in str(error)):
        return (
            f"a file of the dataset {where.data} cannot be read any more "
            f"({_last_line(error)}); `leuko check` tells what else is missing"
        )
    return None


def _full_disk(error: Exception, where: Circumstances) -> str | None:
    refused = isinstance(error, OSError) and error.errno in DISK_ERRORS
    if where.waited or not (refused or UNWRITTEN.search(str(error))):
        return None
    return (
        f"{where.work_dir} cannot be written to any more ({_last_line(error)}); make "
        "room on its disk"
    )


FAULTS: tuple[Callable[[Exception, Circumstances], str | None], ...] = (
    _lost_peer,
    _full_shared_memory,
    _lost_worker,
    _no_memory,
    _lost_data,
    _full_disk,
)


def _last_line(error: Exception) -> str:
    """Return the end of what an error says; a worker's begins with its traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[-1].strip() if lines else type(error).__name__
    return text if len(text) < 200 else f"{text[:200]}..."
