"""How a comparison is stopped: one order, whatever it is doing when a signal comes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from leuko_mm.engine.graceful_stop import Interrupted
from leuko_mm.errors import LeukoError


class ComparisonStopped(LeukoError):  # noqa: N818 - not an error, an order
    """The comparison was asked to stop; what it has done, and its state, are kept.

    Args:
        number: the signal.
    """

    def __init__(self, number: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; what is done is published and "
            "the state of the run is saved: give the same command again to go on"
        )
        self.exit_code = 128 + number


class _Terminated(BaseException):
    """SIGTERM outside of a training; no error, so that nothing takes it for one."""


@contextmanager
def one_order_to_stop() -> Iterator[None]:
    """Turn both signals, wherever they are met, into one order to stop."""

    def terminate(number: int, frame) -> None:
        raise _Terminated

    # Python lets only the main thread listen.
    listens = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGTERM, terminate) if listens else None
    try:
        yield
    except Interrupted as order:
        raise ComparisonStopped(order.exit_code - 128) from None
    except KeyboardInterrupt:
        raise ComparisonStopped(signal.SIGINT) from None
    except _Terminated:
        raise ComparisonStopped(signal.SIGTERM) from None
    finally:
        if listens:
            signal.signal(signal.SIGTERM, former)
