"""Time training steps and predictions against plain mmseg and against peers.

Every contender is a process of its own with random weights. They take turns, round by
round, so that whatever else the machine does meets all of them. Give the machine
nothing else to do; it needs about 12 GB of memory for the default methods.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from leuko_mm.cli.main import DONE
from leuko_mm.errors import UsageError
from leuko_mm.files import write_text
from leuko_mm.report.bench_table import bench_page
from leuko_mm.workflows.bench import BenchRequest, bench
from leuko_mm.workflows.bench_contenders import JOBS, METHODS
from leuko_mm.workflows.typed_command import as_typed

USUAL = BenchRequest()
CLOCKS = ("wall", "processor")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: what is timed, how long, and where to."""
    parser.add_argument(
        "job", nargs="?", choices=[*JOBS, "all"], default="all", help="default: all"
    )
    parser.add_argument(
        "--methods",
        default=",".join(METHODS),
        help="configs by name or path, comma-separated; default: %(default)s",
    )
    parser.add_argument(
        "--rounds", type=int, default=USUAL.rounds, help="default: %(default)s"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=USUAL.batch,
        help="images of a training step; default: %(default)s",
    )
    for job, size in USUAL.sizes:
        parser.add_argument(
            f"--{job}-size",
            type=int,
            default=size,
            help="side of the images, pixels; default: %(default)s",
        )
    parser.add_argument("--threads", type=int, help="default: as many as torch takes")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default=USUAL.clock,
        help="wall; or processor: the processor's time on one thread, for ratios on a "
        "machine that has other work; default: %(default)s",
    )
    parser.add_argument(
        "--peer-python",
        metavar="PYTHON",
        help="an interpreter that has torch and segmentation_models_pytorch; default: "
        "this one",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--force", action="store_true", help="replace FILE")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Measure, print the tables, and write the file."""
    _check_place(args)
    request = BenchRequest(
        jobs=JOBS if args.job == "all" else (args.job,),
        methods=tuple(filter(None, args.methods.split(","))),
        rounds=args.rounds,
        batch=args.batch,
        sizes=(("train", args.train_size), ("predict", args.predict_size)),
        threads=args.threads,
        peer_python=args.peer_python,
        clock=args.clock,
    )
    found = bench(request, say=lambda line: print(line, file=sys.stderr))
    found = dict(command=as_typed(command), **found)
    print(bench_page(found))
    if args.json is not None:
        write_text(args.json, json.dumps(found, indent=1) + "\n")
    return DONE


def _check_place(args: argparse.Namespace) -> None:
    if args.json is None:
        return
    if args.json.exists() and not args.force:
        raise UsageError(f"{args.json} exists; add --force to replace it")
    if not args.json.parent.is_dir():
        raise UsageError(
            f"{args.json.parent} is no folder; make it, or choose another --json"
        )
