"""The runner: its console output, and the globals that mmengine keeps."""

from __future__ import annotations

import ctypes
import gc
import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

# Hundreds of lines before the first useful one, and what the command says itself.
FOR_THE_FILE = re.compile(
    r"\s*-*\s*System environment:"
    r"|Config:\n"
    r"|Hooks will be executed"
    r"|Distributed training is not used"
    r"|Exp name:"
    r"|\d+ test cells\n"
    r"|Iter\(test\) \[\d+/\d+\] +mIoU:"
)
# mmengine warns of its own use of itself.
UNMENDABLE = re.compile(
    r'"FileClient" will be deprecated|"HardDiskBackend" is the alias'
)


class ConsoleFilter(logging.Filter):
    """Let pass what a user reads or can mend.

    Example:
        >>> record = logging.makeLogRecord(dict(msg="Exp name: x", levelno=20))
        >>> ConsoleFilter().filter(record)
        False
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is for the console."""
        if record.levelno >= logging.ERROR:
            return True
        kept_back = UNMENDABLE if record.levelno >= logging.WARNING else FOR_THE_FILE
        return kept_back.match(record.getMessage()) is None


class LegibleRunner(Runner):
    """mmengine's runner with ``ConsoleFilter`` before its console.

    It logs its environment and config while it is being built, so nobody can filter
    them afterwards.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the run's logger, file and console, and filter the console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(ConsoleFilter())
        return logger


@contextmanager
def own_globals() -> Iterator[None]:
    """Remove what a run has left in mmengine's process-wide tables, however it ends.

    Loggers, message hubs, visualizers and default scopes are kept there by name for
    good, with an open log file each, and the newest counts as the current one. A
    process of many runs would keep all of them, and what comes after a run would take
    the scope and the log file of that run.

    Example:
        >>> from mmengine.logging import MessageHub
        >>> with own_globals():
        ...     _ = MessageHub.get_instance("a run")
        >>> MessageHub.check_instance_created("a run")
        False
    """
    former = {kind: set(kind._instance_dict) for kind in _managed(ManagerMixin)}
    try:
        yield
    finally:
        for kind in _managed(ManagerMixin):
            there = former.get(kind, set())
            for name in [n for n in kind._instance_dict if n not in there]:
                _close(kind._instance_dict.pop(name))
        # Runner and hooks hold one another, and through them the data workers.
        with _ignoring_children():
            gc.collect()


@contextmanager
def _ignoring_children() -> Iterator[None]:
    """Let data workers end without torch taking it for a failure.

    One that was killed together with this process is told of whenever the next ends.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "SIGCHLD"):
        yield
        return
    former = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        yield
    finally:
        # None stands for a handler that Python did not install and cannot put back.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if former is None else former)


def _managed(kind: type) -> list[type]:
    below = [inner for child in kind.__subclasses__() for inner in _managed(child)]
    return [kind, *below]


def _close(instance: object) -> None:
    """Close the log file of a logger; a handler leaves the process's streams open."""
    for handler in list(getattr(instance, "handlers", [])):
        handler.close()


# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> bool:
    """Let this process reuse the memory of freed arrays; return whether it does.

    By default glibc maps new pages for every large array, and the kernel clears each
    of them. Here freed memory stays with the process, as much as it held at its peak.
    Unused memory is returned once, at the call. docs/speed.md gives the gain.

    Returns:
        False where the C library is not glibc (macOS, Windows, musl).

    Example:
        >>> keep_memory() in (True, False)
        True
    """
    try:
        library = ctypes.CDLL(None)
        # Only glibc has it; others know a mallopt that does nothing.
        library.malloc_trim(0)
        return all(
            library.mallopt(option, value)
            for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
        )
    except (AttributeError, OSError, TypeError):
        return False
