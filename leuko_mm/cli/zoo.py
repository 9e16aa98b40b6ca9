"""Show the models of the zoo, fetch their checkpoints, and verify them.

fetch: exit code 3 and the command that trains it where none is published. verify: that
a checkpoint is what its sidecar says; with --accuracy, that it scores so, on the
dataset's cells that its training left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED, aligned
from leuko_mm.errors import UsageError
from leuko_mm.zoo.entries import checkpoint_of, read_entries
from leuko_mm.zoo.zoo import compare_metrics, describe, fetch, measure, verify, zoo_rows

HEADER = ("name", "parameters", "multiply-adds", "mIoU", "checkpoint")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of ``leuko zoo``."""
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|fetch|verify", required=True
    )
    listing = actions.add_parser("list", help="every model")
    listing.add_argument("--json", action="store_true", help="for programs")
    showing = actions.add_parser("show", help="one model, with its card")
    showing.add_argument("name")
    fetching = actions.add_parser("fetch", help="get a model's checkpoint")
    fetching.add_argument("name")
    fetching.add_argument("--out", type=Path, help="folder; default: <data home>/zoo")
    fetching.add_argument("--force", action="store_true", help="fetch it again")
    verifying = actions.add_parser("verify", help="check a checkpoint")
    verifying.add_argument("name", help="a model's name, or a .pth file")
    verifying.add_argument(
        "--accuracy", action="store_true", help="test it, and compare its metrics"
    )
    verifying.add_argument("--out", type=Path, help="keep the test's files here")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Do what was asked for and print the outcome."""
    if args.action == "verify":
        return _verify(args)
    if args.action == "fetch":
        print(fetch(args.name, out=args.out, force=args.force))
    elif args.action == "show":
        print("\n".join(describe(args.name)))
    elif args.json:
        print(json.dumps([vars(entry) for entry in read_entries()], indent=1))
    else:
        print("\n".join(aligned([HEADER, *zoo_rows()])))
    return DONE


def _verify(args: argparse.Namespace) -> int:
    if args.out and not args.accuracy:
        raise UsageError("--out keeps the files of a test: add --accuracy")
    path = checkpoint_of(args.name)
    sidecar = verify(path)
    print(
        f"{path}: sha256 {sidecar['sha256'][:12]}..., {sidecar['method']} of "
        f"{len(sidecar['classes'])} classes; bytes, classes and network fit"
    )
    if not args.accuracy:
        return DONE
    pairs = compare_metrics(sidecar, measure(path, sidecar, work_dir=args.out))
    for pair in pairs:
        published, measured = (
            "-" if value is None else f"{value:.2f}"
            for value in (pair.published, pair.measured)
        )
        print(
            f"{pair.name:16} published {published:>6}  measured {measured:>6}  "
            f"{'agrees' if pair.agrees else 'differs'}"
        )
    return DONE if all(pair.agrees for pair in pairs) else SOME_FAILED
