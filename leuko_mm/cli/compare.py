"""Train methods and ablations under one protocol, and publish a results file a run.

What is done and fits is skipped, what was stopped goes on where it was, and a run
that fails does not keep the others back.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED
from leuko_mm.cli.train import add_cfg_options, add_iterations_argument
from leuko_mm.comparison import run_files as states
from leuko_mm.comparison.plan import DEFAULT_SETTINGS, OWN, CompareRequest
from leuko_mm.comparison.report import write_report
from leuko_mm.comparison.runner import FAILED, Outcome, compare, survey
from leuko_mm.errors import UsageError
from leuko_mm.processes import LAUNCHERS
from leuko_mm.training.config import SETTINGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: which runs, where to, and who does them."""
    parser.add_argument("--protocol", help="paper, grouped, half, robust, smoke")
    parser.add_argument(
        "--report",
        action="store_true",
        help="train nothing, and write report.html and report/ out of what is "
        "published in --out",
    )
    parser.add_argument(
        "--methods",
        help="configs by name or path, comma-separated, or all; default: all where no "
        "ablation is named either",
    )
    parser.add_argument(
        "--settings",
        default=",".join(DEFAULT_SETTINGS),
        help=f"of the methods: {OWN} (as the config has it), {', '.join(SETTINGS)}; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--ablations",
        help="names below configs/ablation, or all; default: all where no method is "
        "named either",
    )
    parser.add_argument("--splits", help="fold1,fold2,...; default: the protocol's own")
    parser.add_argument("--seeds", default="0", help="0,1,...; default: 0")
    parser.add_argument("--data", help="prepared dataset: a name or a path")
    add_iterations_argument(parser)
    parser.add_argument("--out", default="results", help="default: results")
    parser.add_argument(
        "--work-dirs",
        default="work_dirs",
        help="of the runs; default: work_dirs",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only show the runs and how far each is"
    )
    parser.add_argument(
        "--force", action="store_true", help="run again what is there but does not fit"
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="do the I-th of N parts, I from 0"
    )
    parser.add_argument("--launcher", choices=["none", *LAUNCHERS], default="none")
    _add_run_arguments(parser)


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--amp",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16; default: on where the processor multiplies it",
    )
    add_cfg_options(parser, "override any key of every run's config")
    parser.add_argument(
        "--verbose", action="store_true", help="show the runs' logs, too"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Do or show the runs, then print what became of them; or write the report."""
    if args.report:
        return _report(args)
    if args.protocol is None:
        raise UsageError(
            "--protocol says under what to compare: paper, grouped, half, robust, "
            "smoke; --report needs none"
        )
    request = CompareRequest(
        protocol=args.protocol,
        methods=_names(args.methods),
        settings=_names(args.settings) or (),
        ablations=_names(args.ablations),
        splits=_names(args.splits) or (None,),
        seeds=_numbers(args.seeds),
        data=args.data,
        iterations=args.iterations,
        options=args.cfg_options,
        amp=args.amp,
        out=args.out,
        work_dirs=args.work_dirs,
        force=args.force,
    )
    if args.dry_run:
        return _show(request)
    rank = os.environ.get(LAUNCHERS.get(args.launcher, ("",))[0], "0")
    # Not ``print``: mmengine's own output is turned away while a run trains.
    out, mark = sys.stdout, "" if args.launcher == "none" else f"({rank}) "

    def say(line: str) -> None:
        print(f"{mark}{line}", file=out, flush=True)

    outcomes = compare(
        request,
        shard=args.shard,
        launcher=args.launcher,
        verbose=args.verbose,
        say=say,
    )
    if args.launcher != "pytorch" or rank == "0":
        _print_outcomes(outcomes)
    troubled = any(o.status in (FAILED, states.DIFFERS) for o in outcomes)
    return SOME_FAILED if troubled else DONE


def _report(args: argparse.Namespace) -> int:
    outcome = write_report(Path(args.out))
    for path in outcome.written:
        print(f"written: {path}")
    for fault in outcome.faults:
        print(f"left out: {fault}", file=sys.stderr)
    return SOME_FAILED if outcome.faults else DONE


def _show(request: CompareRequest) -> int:
    found = survey(request)
    width = max(len(run.name) for run, _, _ in found)
    for planned, status, note in found:
        print(f"{planned.name:{width}}  {status}{f': {note}' if note else ''}")
    counts = Counter(status for _, status, _ in found)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"\n{len(found)} runs: {summary}")
    return DONE


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"\n{len(outcomes)} runs: {summary}")
    for outcome in outcomes:
        if outcome.status in (FAILED, states.DIFFERS):
            print(f"  {outcome.status}: {outcome.name}: {outcome.note}")
    if counts[states.DIFFERS]:
        print("add --force to run again what differs")


def _names(words: str | None) -> list[str] | None:
    if words is None:
        return None
    return [word.strip() for word in words.split(",") if word.strip()]


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(f"--seeds is {words!r}; expected numbers: 0,1,2") from None
