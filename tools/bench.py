"""Time training steps and predictions against plain mmseg and against peers.

    python tools/bench.py --json bench.json
    python tools/bench.py page

Every contender is a process of its own with random weights and pixels. They take turns,
round by round, so that other work on the machine slows all of them. The default methods
need about 12 GB of memory. ``page`` writes the tables of results/bench_*.json into
docs/speed.md, which explains the columns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from bench_contender import (
    CACHED,
    CLOCKS,
    CONVOLUTION,
    DTYPES,
    EAGER,
    EXPORTED,
    FROZEN,
    LAYOUTS,
    ONNXRUNTIME,
    OPENVINO,
    OWN,
    PLAIN,
    bench_config,
    write_export,
)

from leuko_mm.engine.optim import bfloat16_helps, channels_last_helps
from leuko_mm.errors import UsageError
from leuko_mm.files import write_text
from leuko_mm.report.html import number, table
from leuko_mm.training.results import as_typed, environment, git_state

SCHEMA = 1
JOBS = ("train", "predict")
METHODS = ("cbam_unet", "cbam_unet_compact")
# cbam_unet is also run without its CBAM; unet is mmseg's own.
CBAM, WITHOUT_CBAM, MMSEG_UNET = "cbam_unet", "unet_vgg16", "unet"
PEER = "smp.Unet(vgg16)"
FLOAT32, BFLOAT16 = DTYPES
CONTIGUOUS, CHANNELS_LAST = LAYOUTS
TURN_SECONDS = 0.5
# Above this load, other work takes a noticeable share of two cores.
QUIET = 0.5
ROOT = Path(__file__).resolve().parents[1]
WORKER = ROOT / "tools" / "bench_contender.py"
PAGE = ROOT / "docs" / "speed.md"
ON_PAGE = ("bench_train", "bench_predict")
INSTALL = {
    "segmentation_models_pytorch": "pip install segmentation-models-pytorch into an "
    "environment of its own, and name its interpreter: --peer-python",
}
HEADER = (
    "network",
    "run by",
    "numbers, layout",
    "ms",
    "images/s",
    "x plain",
    "x peer",
    "peak MiB",
    "GMAC",
    "of conv rate",
)
TITLES = {
    "train": "Training step, {batch} images of {size}x{size}",
    "predict": "Prediction, {batch} image of {size}x{size}",
}


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Args:
        network: name of a config, the peer, or the convolutions.
        way: how the network is run.
        precision: of the convolutions.
        layout: of the convolutions; for an exported network the torch layout that is
            nearest to the runtime's own.
    """

    network: str
    way: str
    precision: str = FLOAT32
    layout: str = CONTIGUOUS


def contenders(
    job: str, methods: Sequence[str], *, device: str, bfloat16: bool
) -> list[Contender]:
    """Return the contenders in the order of their turns.

    Args:
        job: a name of ``JOBS``.
        methods: configs that are run both plainly and by this package.
        device: ``cpu`` or ``cuda``; exported networks run on the CPU only.
        bfloat16: whether bfloat16 is faster on the device.
    """
    low = BFLOAT16 if bfloat16 else FLOAT32
    found = []
    for method in methods:
        found += [Contender(method, PLAIN), *_own(job, method, device, low)]
        if method != CBAM:
            continue
        if job == "train":
            layout = _training_layout(device)
            found += [Contender(method, way, low, layout) for way in (FROZEN, CACHED)]
        if WITHOUT_CBAM not in methods:
            found += _own(job, WITHOUT_CBAM, device, low)
    if MMSEG_UNET not in methods:
        found.append(Contender(MMSEG_UNET, PLAIN))
    found.append(Contender(PEER, EAGER))
    needed = dict.fromkeys((one.precision, one.layout) for one in found)
    return [*found, *(Contender(CONVOLUTION, CONVOLUTION, *kind) for kind in needed)]


def _training_layout(device: str) -> str:
    return CHANNELS_LAST if channels_last_helps(device) else CONTIGUOUS


def _own(job: str, method: str, device: str, low: str) -> list[Contender]:
    if job == "train":
        return [Contender(method, OWN, low, _training_layout(device))]
    found = [Contender(method, OWN, low, CHANNELS_LAST)]
    if device == "cpu":
        found += [
            Contender(method, ONNXRUNTIME, FLOAT32, CHANNELS_LAST),
            # OpenVINO uses bfloat16 where the processor multiplies it.
            Contender(method, OPENVINO, low, CHANNELS_LAST),
        ]
    return found


class ContenderProcess:
    """A process of ``bench_contender.py``: it builds one contender and times it.

    Args:
        spec: see ``bench_contender.build``; with ``threads`` and ``clock``.
        python: another interpreter, which needs torch only; None: this one.
    """

    def __init__(self, spec: Mapping, *, python: str | None = None):
        environment = dict(os.environ)
        if python is not None:
            environment.pop("PYTHONPATH", None)
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [python or sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.about = self.ask(dict(spec))

    def ask(self, content: object) -> dict:
        """Send one line and return the answer; ``failed`` if the process ended."""
        try:
            self.process.stdin.write(json.dumps(content) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else dict(failed=self._last_line())

    def _last_line(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else f"the process ended with code {code}"

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(self, *_) -> None:
        """End the process, also in the middle of a turn."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):
                stream.close()


def bench(args: argparse.Namespace, say: Callable[[str], None] = print) -> dict:
    """Measure, and return the content of the JSON file.

    Args:
        args: of ``parser``.
        say: called with a line of progress.

    Raises:
        UsageError: for a method that is no config, or numbers that measure nothing.
    """
    _check(args)
    processor = args.clock == "processor"
    threads = 1 if processor else args.threads or torch.get_num_threads()
    gpu = torch.cuda.is_available() and not processor
    load, started = _load(), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    if load is not None and load > QUIET and not processor:
        say(f"the load of this machine is {load:.1f}: use --clock processor, or wait")
    rows = []
    for device in ["cpu", *(["cuda"] if gpu else [])]:
        for job in JOBS if args.job == "all" else [args.job]:
            rows += _measure(args, job, device, threads, say)
    return dict(
        schema=SCHEMA,
        started=started,
        git=git_state(),
        env=environment(),
        threads=threads,
        clock=args.clock,
        load=dict(before=load, after=_load()),
        rounds=args.rounds,
        batch=dict(train=args.batch, predict=1),
        size=dict(train=args.train_size, predict=args.predict_size),
        rows=rows,
    )


def _check(args: argparse.Namespace) -> None:
    given = {key: getattr(args, key) for key in ("rounds", "batch", "threads")}
    wrong = {k: v for k, v in given.items() if v is not None and v < 1}
    if wrong:
        raise UsageError(f"expected 1 or more, got {wrong}")
    if args.clock == "processor" and (args.threads or 1) > 1:
        raise UsageError(
            f"--clock processor measures one thread, got --threads {args.threads}; "
            "leave --threads out, or use --clock wall"
        )
    for size in (args.train_size, args.predict_size):
        if size < 32 or size % 32:
            raise UsageError(
                f"got images of {size} x {size} pixels; expected a side that is a "
                "multiple of 32"
            )
    for method in args.methods:
        bench_config(method)


def _measure(
    args: argparse.Namespace,
    job: str,
    device: str,
    threads: int,
    say: Callable[[str], None],
) -> list[dict]:
    batch = args.batch if job == "train" else 1
    size = args.train_size if job == "train" else args.predict_size
    facts = dict(job=job, device=device, batch=batch, size=size)
    measured, running = [], []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench")))
        for contender in contenders(
            job, args.methods, device=device, bfloat16=bfloat16_helps(device)
        ):
            say(f"{job} on {device}: building {contender.network}, {contender.way}")
            one = dict(asdict(contender), **facts, ms=[], cores=[])
            measured.append(one)
            file = folder / f"{Path(contender.network).stem}.onnx"
            one["lack"] = _export(contender, file)
            if one["lack"]:
                continue
            spec = dict(one, threads=threads, clock=args.clock, file=str(file))
            python = args.peer_python if contender.way == EAGER else None
            process = stack.enter_context(ContenderProcess(spec, python=python))
            missing = process.about.get("missing")
            lack = how_to_install(missing) if missing else process.about.get("failed")
            one.update(process.about, lack=lack)
            if not lack:
                running.append((one, process))
        for number in range(args.rounds):
            say(f"{job} on {device}: round {number + 1} of {args.rounds}")
            for one, process in running:
                if not one["lack"]:
                    _take_turn(one, process)
    return make_rows(measured, batch=batch)


def _take_turn(one: dict, process: ContenderProcess) -> None:
    answer = process.ask(TURN_SECONDS)
    if "failed" in answer:
        one.update(lack=answer["failed"], ms=[])
        return
    one["ms"] += answer["ms"]
    one["cores"].append(answer["cores"])
    one["peak_mib"] = answer["peak_mib"]


def _export(contender: Contender, file: Path) -> str | None:
    """Write the file that an exported network needs; return why there is none."""
    if contender.way not in EXPORTED:
        return None
    for module in ("onnx", contender.way):
        if not find_spec(module):
            return how_to_install(module)
    if not file.exists():
        # The exporter raises any error on an operation that it cannot write.
        try:
            write_export(contender.network, file)
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            return f"cannot be exported ({line[:120]})"
    return None


def how_to_install(module: str) -> str:
    """Return the message about a module that is not there."""
    return f"{module} is not installed: {INSTALL.get(module, f'pip install {module}')}"


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def make_rows(measured: Sequence[Mapping], *, batch: int) -> list[dict]:
    """Return a row for each contender of one job on one device.

    ``ms`` is the median of all calls. ``times_plain`` and ``times_peer`` are ratios of
    medians: the time of the plain loop of the same network, or of the peer, divided by
    that of the row. ``conv_share`` is the rate of multiply-adds divided by that of the
    convolutions in the same precision and layout.

    Args:
        measured: the fields of a ``Contender``, ``device`` and ``job``; with ``ms``
            of each call, ``cores`` of each turn, ``peak_mib`` and ``gmacs``, or with
            ``lack``, the reason why there are none.
        batch: images of a call.
    """
    rows = [_own_numbers(one, batch) for one in measured]
    counted = {row["network"]: row["gmacs"] for row in rows if row.get("gmacs")}
    plain = {row["network"]: row["ms"] for row in rows if row["way"] == PLAIN}
    peer = next((row["ms"] for row in rows if row["network"] == PEER), None)
    rates = {
        (row["precision"], row["layout"]): row["gmacs"] / row["ms"]
        for row in rows
        if row["way"] == CONVOLUTION and row["ms"]
    }
    for row in rows:
        if row["ms"] is None:
            continue
        # An exported network has the arithmetic of its original.
        row["gmacs"] = row["gmacs"] or counted.get(row["network"])
        rate = rates.get((row["precision"], row["layout"]))
        if row["way"] != CONVOLUTION:
            row["times_plain"] = _ratio(plain.get(row["network"]), row["ms"])
            row["times_peer"] = _ratio(peer, row["ms"])
        if rate and row["gmacs"]:
            row["conv_share"] = row["gmacs"] / row["ms"] / rate
    return rows


def _own_numbers(one: Mapping, batch: int) -> dict:
    row = {k: one[k] for k in ("job", "device", "network", "way")}
    row.update(precision=one["precision"], layout=one["layout"], ms=None)
    row.update(left_out=one.get("lack"), gmacs=one.get("gmacs"))
    row.update(times_plain=None, times_peer=None, conv_share=None)
    if one.get("ms"):
        median = statistics.median(one["ms"])
        row.update(
            ms=median,
            images_s=1000 * batch / median,
            calls=len(one["ms"]),
            fastest_ms=min(one["ms"]),
            cores=statistics.median(one["cores"]),
            peak_mib=one["peak_mib"],
            torch=one.get("torch"),
        )
    return row


def _ratio(other: float | None, own: float) -> float | None:
    return other / own if other else None


def tables(found: Mapping) -> str:
    """Return what ``bench`` measured as Markdown."""
    env, load = found["env"], found["load"]
    clock = "wall clock" if found["clock"] == "wall" else "processor time"
    parts = [
        f"{env['cpu']}; {env['gpu'] or 'no GPU'}; {found['threads']} thread(s); "
        f"{clock}; torch {env['torch']}; load {number(load['before'])} before, "
        f"{number(load['after'])} after; medians of {found['rounds']} rounds."
    ]
    kinds = dict.fromkeys((row["job"], row["device"]) for row in found["rows"])
    for job, device in kinds:
        title = TITLES[job].format(batch=found["batch"][job], size=found["size"][job])
        rows = [r for r in found["rows"] if (r["job"], r["device"]) == (job, device)]
        # The convolutions are in the table as the column "of conv rate".
        networks = [row for row in rows if row["way"] != CONVOLUTION]
        lines = [_table_line(row) for row in networks if row["ms"]]
        parts += [f"### {title}, {device}", table(HEADER, lines)]
        parts += [
            f"Left out: {row['network']}, {row['way']}: {row['left_out']}"
            for row in rows
            if row["left_out"]
        ]
    return "\n\n".join(parts)


def _table_line(row: Mapping) -> list[str]:
    from leuko_mm.report.html import number

    share = row["conv_share"]
    return [
        row["network"],
        row["way"] if row["way"] != row["network"] else "torch",
        f"{row['precision']}, {row['layout']}",
        number(row["ms"], 0 if row["ms"] >= 100 else 1),
        number(row["images_s"], 2),
        number(row["times_plain"], 2),
        number(row["times_peer"], 2),
        number(row["peak_mib"], 0),
        number(row["gmacs"], 1),
        "-" if share is None else f"{100 * share:.0f} %",
    ]


def updated_page(page: str, results: Path = ROOT / "results") -> str:
    """Return a page with the tables of each results file between its marks.

    Raises:
        ValueError: if the page has no such marks.
    """
    from leuko_mm.report.html import put_into

    for name in ON_PAGE:
        path = results / f"{name}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            page = put_into(page, name, f"\n{tables(found)}\n\n")
    return page


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("job", nargs="?", choices=[*JOBS, "all", "page"], default="all", help="job")
    add(
        "--methods",
        type=lambda text: list(filter(None, text.split(","))),
        default=",".join(METHODS),
        help="configs by name or path, comma-separated",
    )
    add("--rounds", type=int, default=7, help="turns of each contender")
    add("--batch", type=int, default=4, help="images of a training step")
    add("--train-size", type=int, default=256, help="side of the images, pixels")
    add("--predict-size", type=int, default=512, help="side of the images, pixels")
    add("--threads", type=int, help="of each contender; None: as many as torch uses")
    add(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="processor: processor time on one thread of the CPU, for ratios on a "
        "machine that has other work",
    )
    add(
        "--peer-python",
        metavar="PYTHON",
        help="an interpreter that has torch and segmentation_models_pytorch; None: "
        "this one",
    )
    add("--json", type=Path, metavar="FILE", help="write all numbers")
    add("--force", action="store_true", help="replace FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    if args.job == "page":
        write_text(PAGE, updated_page(PAGE.read_text(encoding="utf-8")))
        return 0
    words = sys.argv[1:] if argv is None else argv
    try:
        if args.json and args.json.exists() and not args.force:
            raise UsageError(f"{args.json} exists; add --force to replace it")
        if args.json and not args.json.parent.is_dir():
            raise UsageError(f"{args.json.parent} is no folder; create it")
        found = bench(args, say=lambda line: print(line, file=sys.stderr))
    except UsageError as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2
    found = dict(command=as_typed(["tools/bench.py", *words]), **found)
    print(tables(found))
    if args.json:
        write_text(args.json, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
