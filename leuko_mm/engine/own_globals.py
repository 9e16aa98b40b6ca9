"""Give a run the globals of mmengine for itself, and take them away afterwards."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.utils import ManagerMixin


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
