"""Deal the cells of a dataset into folds that divide no slide or patient."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES, OTHER
from leuko_mm.cli.main import DONE, SOME_FAILED, aligned, at_least, number_below
from leuko_mm.datasets.audit import PURPOSE
from leuko_mm.datasets.prepared import PARTS, is_plain_name
from leuko_mm.errors import UsageError
from leuko_mm.split import (
    REMOVED,
    REPLACED,
    SplitReport,
    SplitRequest,
    run_split,
    show_splits,
)

LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko split``."""
    add = parser.add_argument
    add("name", help="prepared dataset: a name or a path")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--folds", type=at_least(2), default=5, help="default: 5")
    mode.add_argument(
        "--holdout",
        type=number_below(1),
        metavar="FRACTION",
        help="one split instead of folds, that tests this share of the cells",
    )
    mode.add_argument("--show", action="store_true", help="only describe the splits")
    mode.add_argument(
        "--fewer",
        type=_counts,
        default=(),
        metavar="N[,N...]",
        help="instead of folds, splits that train on N of the groups that --of "
        "trains on, and test the same cells: for a learning curve",
    )
    add("--of", metavar="SPLIT", help="with --fewer: of which split")
    add("--seed", type=at_least(0), default=0, help="default: 0")
    add(
        "--prefix",
        type=_prefix,
        default="grouped",
        help="of the names: grouped_fold1, and with other seeds grouped_s1_fold1",
    )
    add("--join", action="store_true", help="keep groups of one cell together")
    add("--force", action="store_true", help="replace splits of these names")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(at_least(1)(word) for word in text.split(","))


def _prefix(text: str) -> str:
    if text and (not is_plain_name(text) or text.startswith(".")):
        raise argparse.ArgumentTypeError(
            f"expected the start of a file's name, got {text!r}"
        )
    return text


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Deal, write and print; return 1 if something is on both sides of a split."""
    if args.show:
        reports = show_splits(args.name)
    else:
        if bool(args.of) != bool(args.fewer):
            raise UsageError(
                "--fewer says how many groups to train on and --of which split is "
                "meant; give both, such as --fewer 10,20 --of development"
            )
        if args.fewer and args.prefix != "grouped":
            raise UsageError(
                "--fewer names its splits after --of; leave --prefix out, and draw "
                "other groups with --seed"
            )
        options = {k: v for k, v in vars(args).items() if k != "show"}
        reports = run_split(SplitRequest(**options))
    if not reports:
        print(f"{args.name} has no split; leuko split {shlex.quote(args.name)}")
    for report in reports:
        print("\n".join(report_lines(report)))
    leaking = [report for report in reports if report.leaks]
    if leaking and not args.show:
        words = command[1:]
        cure = "Remove one cell of each pair, or keep their groups together:"
        if args.of:
            words = [args.name]
            cure = f"{args.of} shares them itself; deal a split for --of with --join:"
        print(
            "\nNothing was written: a network would be tested on cells that it was "
            f"trained on. {cure}"
            "\n    " + shlex.join([*command[0].split(), *words, "--join"])
        )
    return SOME_FAILED if leaking else DONE


def report_lines(report: SplitReport) -> Iterator[str]:
    """Yield the counts of one split as a table, and what is wrong with it."""
    kind = ", an official split" if report.official else ""
    yield f"{report.name}{kind}: {report.state}"
    if report.state == REMOVED:
        return
    names = (*CLASS_NAMES[1:], BINARY_NAMES[1], OTHER)
    names = [name for name in names if any(name in report.cells[p] for p in PARTS)]
    table = [("part", "cells", "groups", *names)]
    for part in PARTS:
        cells = report.cells[part]
        counts = (cells.get(name, 0) for name in names)
        table.append((part, sum(cells.values()), report.groups[part], *counts))
    yield from (f"  {line}" for line in aligned(table, right=range(1, len(table[0]))))
    for part in PARTS:
        absent = [name for name in names if not report.cells[part].get(name)]
        if absent:
            yield f"  {part} has no {', no '.join(absent)}"
    if report.official and report.state == REPLACED:
        yield "  results published under this name were measured on other cells"
    yield from _leaks(report)


def _leaks(report: SplitReport) -> Iterator[str]:
    sign, words = ("", f", {PURPOSE}") if report.by_design else ("LEAK: ", "")
    if report.shared:
        count, names = len(report.shared), _some(report.shared)
        yield f"  {sign}{count} group(s) in both parts{words}: {names}"
    if report.copies:
        pairs = [
            f"{a} = {b} (alike to {likeness:.0%})" for a, b, likeness in report.copies
        ]
        yield f"  {sign}{len(pairs)} cell(s) in both parts: {_some(pairs)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
