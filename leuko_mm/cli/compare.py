"""Train methods and ablations under one protocol, and publish a results file a run.

What is done and fits is skipped, and what was stopped is resumed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED, aligned
from leuko_mm.cli.train import add_cfg_options, add_iterations_argument
from leuko_mm.comparison.plan import (
    DEFAULT_SETTINGS,
    OWN,
    CompareRequest,
    replaced_losses,
)
from leuko_mm.comparison.report import write_report
from leuko_mm.comparison.runner import DIFFERS, FAILED, STOPPED, compare, survey
from leuko_mm.errors import UsageError
from leuko_mm.processes import DASK_HELP
from leuko_mm.training.config import SETTINGS

PROTOCOLS = "paper, grouped, half, robust, labs, smoke"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: which runs, where to, and who does them."""
    add = parser.add_argument
    add("--protocol", help=PROTOCOLS)
    add(
        "--report",
        action="store_true",
        help="train nothing, and write report.html and report/ out of what is "
        "published in --out",
    )
    add(
        "--methods",
        help="configs by name or path, comma-separated, or all; default: all where no "
        "ablation is named either",
    )
    add(
        "--settings",
        default=",".join(DEFAULT_SETTINGS),
        help=f"of the methods: {OWN} (as the config has it), {', '.join(SETTINGS)}; "
        "default: %(default)s",
    )
    add(
        "--ablations",
        help="names below configs/ablation, or all; default: all where no method is "
        "named either",
    )
    add("--splits", help="fold1,fold2,...; default: the protocol's own")
    add("--seeds", default="0", help="0,1,...; default: 0")
    add("--data", help="prepared dataset: a name or a path")
    add_iterations_argument(parser)
    add("--out", default="results", help="default: results")
    add("--work-dirs", default="work_dirs", help="of the runs; default: work_dirs")
    add("--dry-run", action="store_true", help="only show the runs and how far each is")
    add("--force", action="store_true", help="run again what is there but does not fit")
    add("--dask", metavar="ADDRESS", help=DASK_HELP)
    add(
        "--amp",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bfloat16; default: on where the processor multiplies it",
    )
    add_cfg_options(parser, "override any key of every run's config")
    add("--verbose", action="store_true", help="show the runs' logs on standard error")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Do or show the runs, then print what became of them; or write the report."""
    if args.report:
        return _report(Path(args.out))
    if args.protocol is None:
        raise UsageError(
            f"--protocol says under what to compare: {PROTOCOLS}; --report needs none"
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
    return _show(request) if args.dry_run else _compare(request, args)


def _report(out: Path) -> int:
    written, faults = write_report(out)
    for path in written:
        print(f"written: {path}")
    for fault in faults:
        print(f"left out: {fault}", file=sys.stderr)
    return SOME_FAILED if faults else DONE


def _show(request: CompareRequest) -> int:
    found = survey(request)
    for line in aligned((r.name, f"{s}: {n}" if n else s) for r, s, n in found):
        print(line)
    _print_counts(status for _, status, _ in found)
    for line in replaced_losses(run for run, *_ in found):
        print(line)
    return DONE


def _compare(request: CompareRequest, args: argparse.Namespace) -> int:
    outcomes = compare(
        request,
        dask=args.dask,
        verbose=args.verbose,
        say=lambda line: print(line, flush=True),
    )
    troubled = [x for x in outcomes if x.status in (FAILED, STOPPED, DIFFERS)]
    _print_counts(outcome.status for outcome in outcomes)
    for outcome in troubled:
        print(f"  {outcome.status}: {outcome.name}: {outcome.note}")
    if any(outcome.status == DIFFERS for outcome in troubled):
        print("add --force to run again what differs")
    return SOME_FAILED if troubled else DONE


def _print_counts(statuses: Iterable[str]) -> None:
    counts = Counter(statuses)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    print(f"\n{counts.total()} runs: {summary}")


def _names(words: str | None) -> list[str] | None:
    if words is None:
        return None
    found = (word.strip() for word in words.split(","))
    return list(dict.fromkeys(word for word in found if word))


def _numbers(words: str) -> list[int]:
    try:
        return list(dict.fromkeys(int(word) for word in words.split(",")))
    except ValueError:
        raise UsageError(f"--seeds is {words!r}; expected numbers: 0,1,2") from None
