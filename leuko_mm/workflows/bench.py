"""Time this package against the plain mmseg loop and its peers, in one run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.errors import UsageError
from leuko_mm.workflows.bench_contenders import (
    EAGER,
    EXPORTED,
    JOBS,
    METHODS,
    Contender,
    contenders,
)
from leuko_mm.workflows.bench_networks import bench_config, write_export
from leuko_mm.workflows.bench_process import ContenderProcess
from leuko_mm.workflows.bench_rows import make_rows, remedy
from leuko_mm.workflows.bench_targets import targets
from leuko_mm.workflows.run_facts import environment, git_state

SCHEMA = 1
# Above it, other work on the machine takes a noticeable share of two cores.
QUIET = 0.5


@dataclass(frozen=True)
class BenchRequest:
    """What a user asked for.

    Args:
        jobs: of ``JOBS``.
        methods: configs to run; see ``contenders``.
        rounds: turns of each contender.
        seconds: that a turn takes, at least one call.
        batch: images of a training step.
        sizes: sides of the images in pixels, by job.
        threads: of each contender; None takes as many as torch would.
        peer_python: an interpreter that has the peer; None takes this one.
        clock: ``wall``, or ``processor`` for the time of the processor on one thread,
            which other work changes little; on the CPU alone.
    """

    jobs: Sequence[str] = JOBS
    methods: Sequence[str] = METHODS
    rounds: int = 7
    seconds: float = 0.5
    batch: int = 4
    sizes: tuple[tuple[str, int], ...] = (("train", 256), ("predict", 512))
    threads: int | None = None
    peer_python: str | None = None
    clock: str = "wall"


def bench(request: BenchRequest, say: Callable[[str], None] = print) -> dict:
    """Measure, and return what the JSON file holds.

    Args:
        request: what to measure.
        say: called with a line of progress.

    Raises:
        UsageError: for a method that is no config, or counts that measure nothing.
    """
    _check(request)
    processor = request.clock == "processor"
    threads = 1 if processor else request.threads or torch.get_num_threads()
    gpu = torch.cuda.is_available() and not processor
    load, started = _load(), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    if load is not None and load > QUIET and not processor:
        say(f"the load of this machine is {load:.1f}: take --clock processor, or wait")
    rows = []
    for device in ["cpu", *(["cuda"] if gpu else [])]:
        for job in request.jobs:
            rows += _measure(request, job, device, threads, say)
    return dict(
        schema=SCHEMA,
        started=started,
        git=git_state(),
        env=environment(),
        threads=threads,
        clock=request.clock,
        load=dict(before=load, after=_load()),
        rounds=request.rounds,
        batch=dict(train=request.batch, predict=1),
        size=dict(request.sizes),
        targets=targets(rows),
        rows=rows,
    )


def _check(request: BenchRequest) -> None:
    least = dict(rounds=1, batch=1, threads=1)
    given = {key: getattr(request, key) for key in least}
    wrong = {k: v for k, v in given.items() if v is not None and v < least[k]}
    if wrong:
        raise UsageError(f"expected 1 or more, got {wrong}")
    if request.clock == "processor" and (request.threads or 1) > 1:
        raise UsageError(
            f"the processor's clock counts the waiting of threads for each other, got "
            f"threads={request.threads}; leave them out, or take the wall clock"
        )
    for job, size in request.sizes:
        if size < 32 or size % 32:
            raise UsageError(
                f"{job}: images of {size} x {size} pixels; expected a side that is a "
                "multiple of 32"
            )
    for method in request.methods:
        bench_config(method)


def _measure(
    request: BenchRequest,
    job: str,
    device: str,
    threads: int,
    say: Callable[[str], None],
) -> list[dict]:
    batch = request.batch if job == "train" else 1
    found = contenders(job, request.methods, device=device, bfloat16=bfloat16_helps())
    facts = dict(job=job, device=device, batch=batch, size=dict(request.sizes)[job])
    measured, taking_part = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        for contender in found:
            say(f"{job} on {device}: {contender.network}, {contender.way} is built")
            one = dict(asdict(contender), **facts, ms=[], cores=[])
            measured.append(one)
            one["lack"] = _lack_of(contender, folder)
            if one["lack"]:
                continue
            about = dict(threads=threads, clock=request.clock)
            spec = dict(one, home=contender.home, **about)
            spec["file"] = str(_export_file(contender, folder))
            python = request.peer_python if contender.way == EAGER else None
            process = stack.enter_context(ContenderProcess(spec, python=python))
            one.update(process.about, lack=_said(process))
            if not one["lack"]:
                taking_part.append((one, process))
        for number in range(request.rounds):
            say(f"{job} on {device}: round {number + 1} of {request.rounds}")
            _round(taking_part, request.seconds)
    return make_rows(measured, batch=batch)


def _round(taking_part: Iterable[tuple[dict, ContenderProcess]], seconds: float):
    """Let each of them have one turn."""
    for one, process in taking_part:
        if one["lack"]:
            continue
        told = process.ask(seconds)
        if "failed" in told:
            one.update(lack=told["failed"], ms=[])
            continue
        one["ms"] += told["ms"]
        one["cores"].append(told["cores"])
        one["peak_mib"] = told["peak_mib"]


def _lack_of(contender: Contender, folder: Path) -> str | None:
    """Write the export that a contender needs; say why there is none."""
    if contender.way not in EXPORTED:
        return None
    for module in ("onnx", contender.way):
        if not find_spec(module):
            return remedy(module)
    file = _export_file(contender, folder)
    if not file.exists():
        # The exporter raises anything on an operation that it cannot write.
        try:
            write_export(contender.network, file)
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            return f"cannot be exported ({line[:120]})"
    return None


def _export_file(contender: Contender, folder: Path) -> Path:
    return folder / f"{Path(contender.network).stem}.onnx"


def _said(process: ContenderProcess) -> str | None:
    missing = process.about.get("missing")
    return remedy(missing) if missing else process.about.get("failed")


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
