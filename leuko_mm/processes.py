"""Work in several processes: modules run as programs, dask's workers, signals."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leuko_mm.errors import LeukoError, UsageError

if TYPE_CHECKING:  # the extra `dask` may not be installed
    from distributed import Client, Future

LOCAL = "local"
DASK_HELP = (
    "divide the work over the workers of this dask scheduler, such as "
    "tcp://node1:8786; local starts a worker a core here, local:4 four of them"
)
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
# Seconds to wait for a scheduler.
PATIENCE_S = 5
# After so many losses of its worker a task of local workers is not tried again; other
# schedulers have a setting of their own, which allows one more.
LOSSES = 3
# -P does it from Python 3.11 on. The path is for a clone that is not installed.
RUN_MODULE = (
    "import sys; sys.path[:] = [*filter(None, sys.path), sys.argv.pop(1)]; "
    "import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
)


def python_module(name: str, *words: str) -> list[str]:
    """Return the command of ``python -m name words``, where no library is hidden.

    ``-m`` itself looks into the current folder first, whose files are the user's.
    """
    home = Path(__file__).resolve().parents[1]
    return [sys.executable, "-c", RUN_MODULE, str(home), name, *words]


class StoppedBySignal(LeukoError):  # noqa: N818 - not an error, an order
    """The work was asked to stop; what it has done is kept."""

    def __init__(self, number: int, advice: str):
        super().__init__(f"stopped by {signal.Signals(number).name}; {advice}")
        self.exit_code = 128 + number


@contextmanager
def stopped_by_signals(advice: str) -> Iterator[None]:
    """Raise ``StoppedBySignal`` on SIGINT and SIGTERM.

    Inside it is a ``KeyboardInterrupt``: no ``Exception``, which would be taken for the
    failure of one item.

    Args:
        advice: what is kept, and how to continue.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    # Python lets only the main thread listen.
    listens = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGTERM, stop) if listens else None
    try:
        yield
    except KeyboardInterrupt as order:
        raise StoppedBySignal((*order.args, signal.SIGINT)[0], advice) from None
    finally:
        if listens:
            signal.signal(signal.SIGTERM, former)


@contextmanager
def dask_client(address: str | None) -> Iterator[Client | None]:
    """Yield a client of dask, None where no address is given.

    Args:
        address: of a scheduler; ``local`` or ``local:<n>`` starts workers here.

    Raises:
        UsageError: if dask is not installed, or no scheduler is at the address.
    """
    if address is None:
        yield None
        return
    try:
        import dask
        import distributed
    except ImportError:
        raise UsageError(
            "--dask needs dask.distributed, which is not installed: "
            "pip install distributed"
        ) from None
    with ExitStack() as stack:
        if address.partition(":")[0] == LOCAL:
            failures = {"distributed.scheduler.allowed-failures": LOSSES - 1}
            stack.enter_context(dask.config.set(failures))
            cluster = distributed.LocalCluster(
                n_workers=_local_workers(address),
                # Dask lets each process compute on one thread, too.
                threads_per_worker=1,
                # Workers are not ended for memory that one process may have.
                memory_limit=None,
                dashboard_address=None,
                preload=__name__,
                silence_logs=logging.CRITICAL,
            )
            place: Any = stack.enter_context(cluster)
        else:
            place = address
            if not _scheduler(address)["workers"]:
                note = f"waiting for workers: dask worker {address} --nthreads 1"
                print(note, file=sys.stderr)
        # Its tracebacks; what ends the work is said in one line.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        yield stack.enter_context(distributed.Client(place))


def _scheduler(address: str) -> dict:
    """Return what a scheduler says of itself; the client waits for it without end."""
    import distributed

    async def ask() -> dict:
        options = distributed.Security().get_connection_args("client")
        async with distributed.rpc(address, connection_args=options) as scheduler:
            return await scheduler.identity()

    try:
        return asyncio.run(asyncio.wait_for(ask(), PATIENCE_S))
    except Exception as error:  # whatever else may answer there
        reason = str(error) or f"waited {PATIENCE_S} s"
        raise UsageError(
            f"--dask {address}: no dask scheduler answers there ({reason}); start one "
            "with `dask scheduler` and give the address that it prints, or --dask local"
        ) from None


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the client; dask calls this where a worker of ours starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _local_workers(address: str) -> int:
    from dask.system import CPU_COUNT

    _, colon, count = address.partition(":")
    if not colon:
        return CPU_COUNT
    if not count.isdecimal() or not int(count):
        raise UsageError(
            f"--dask is {address!r}; expected local, local:<number of workers> or the "
            "address of a scheduler"
        )
    return int(count)


def finished_tasks(
    client: Client, function: Callable, tasks: Mapping[str, Sequence]
) -> Iterator[tuple[str, Any]]:
    """Yield the name of every task and what it returned, as they end.

    A task whose worker is lost is done again. One that has lost several is tried again
    when all others are done, since a worker takes those with it that wait for it; then
    it yields a ``LeukoError``. What is not done when the iteration ends is cancelled.

    Args:
        client: of ``dask_client``.
        function: can be imported by the workers.
        tasks: the arguments by name.

    Raises:
        UsageError: if the scheduler is lost.
        Exception: of a task.
    """
    from distributed import CancelledError, KilledWorker, as_completed

    def submit(names: Sequence[str]) -> dict[str, tuple[str, Future]]:
        columns = zip(*(tasks[name] for name in names), strict=True)
        futures = client.map(function, *columns, pure=False)
        return {f.key: (name, f) for name, f in zip(names, futures, strict=True)}

    waiting, suspects = submit(list(tasks)) if tasks else {}, []
    try:
        for future in as_completed([future for _, future in waiting.values()]):
            name, _ = waiting.pop(future.key)
            if isinstance(error := future.exception(), KilledWorker):
                suspects.append(name)
            elif error:
                raise error
            else:
                yield name, future.result()
        for name in suspects:
            waiting = submit([name])
            ((_, future),) = waiting.values()
            if isinstance(error := future.exception(), KilledWorker):
                losses = error.allowed_failures + 1
                yield name, LeukoError(f"ended {losses} workers; is there memory?")
            elif error:
                raise error
            else:
                yield name, future.result()
    except CancelledError:
        raise UsageError("the dask scheduler was lost; what is done is kept") from None
    finally:
        client.cancel([future for _, future in waiting.values()])


def keep_memory() -> bool:
    """Let this process reuse the memory of freed arrays; return whether it does.

    The process keeps the memory of its peak. False where the C library is not glibc
    (macOS, Windows, musl).
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
