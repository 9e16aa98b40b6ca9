"""One contender of `leuko bench` in a process of its own: built once, timed in turns.

So each has its own peak of memory, none can break another, and the peer may run in
another environment: nothing but torch is imported before the contender's module.
Lines of JSON go in (first what to build, then the seconds of a turn) and come out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from leuko_mm.workflows.peak_memory import resident

# Before the first turn: libraries choose their algorithms in the first calls.
WARMING = 2
CLOCKS = dict(wall=time.perf_counter, processor=time.process_time)


def prepare(spec: Mapping) -> tuple[Callable[[], object], dict]:
    """Build a contender and call it a few times.

    Args:
        spec: ``home``, the module whose ``build`` takes the whole of it, ``threads``
            and what that needs.

    Returns:
        The call, and what is known of it: ``gmacs``, 10^9 multiply-adds of a call as
        torch counted them, None where torch did not compute it, and ``torch``.
    """
    torch.set_num_threads(spec["threads"])
    torch.backends.cudnn.benchmark = True
    call = importlib.import_module(f"leuko_mm.workflows.{spec['home']}").build(spec)
    with FlopCounterMode(display=False) as counter:
        call()
    for _ in range(WARMING - 1):
        call()
    # The counter takes a multiply-add for two operations.
    gmacs = counter.get_total_flops() / 2e9 or None
    return call, dict(gmacs=gmacs, torch=torch.__version__)


def turn(
    call: Callable[[], object],
    seconds: float,
    *,
    clock: str = "wall",
    cuda: bool = False,
) -> dict:
    """Call until the time is over, once at least.

    Args:
        call: what is timed.
        seconds: of the wall clock.
        clock: ``wall``, or ``processor`` for the time of the processor.
        cuda: wait for the GPU at the end of each call.

    Returns:
        ``ms``, the time of each call, and ``cores``, those that the process held
        on average: fewer than its threads where others took them.
    """
    times: list[float] = []
    begun, processor = time.perf_counter(), time.process_time()
    while not times or time.perf_counter() - begun < seconds:
        started = CLOCKS[clock]()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(1000 * (CLOCKS[clock]() - started))
    wall = time.perf_counter() - begun
    return dict(ms=times, cores=(time.process_time() - processor) / wall)


def peak_mib(*, cuda: bool = False) -> float | None:
    """Return the most memory that the process has held, libraries included, in MiB.

    None where the system does not tell.

    Args:
        cuda: what torch has held on the GPU instead.
    """
    if cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        return resident("VmHWM") / 2**20
    except OSError:
        return None


def serve(lines, answer: Callable[[dict], None]) -> None:
    """Build what the first line asks for, then time a turn for each of the others.

    What goes wrong while it is built is answered as ``missing``, the name of a module,
    or ``failed``.
    """
    spec = {"clock": "wall", **json.loads(next(lines))}
    cuda = spec["device"] != "cpu"
    try:
        call, about = prepare(spec)
    except ModuleNotFoundError as error:
        answer(dict(missing=error.name))
        return
    # Whatever it is, the others go on, and a row tells.
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        answer(dict(failed=f"{type(error).__name__}: {line}"))
        return
    answer(about)
    for line in lines:
        timed = turn(call, json.loads(line), clock=spec["clock"], cuda=cuda)
        answer(dict(timed, peak_mib=peak_mib(cuda=cuda)))


def main() -> None:
    """Serve over the standard streams; what libraries print goes to the errors."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)

        def answer(told: dict) -> None:
            out.write(json.dumps(told) + "\n")
            out.flush()

        serve(iter(sys.stdin.readline, ""), answer)


if __name__ == "__main__":
    main()
