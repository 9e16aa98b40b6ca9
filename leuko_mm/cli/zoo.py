"""Show the models of the zoo, fetch their checkpoints, and verify them.

list: every model, and where its checkpoint is. show: one of them, with its card.
fetch: the checkpoint from where it is published; exit code 3 and the command that
trains it where none is. verify: that a checkpoint is what its sidecar says; with
--accuracy, that it scores so, on the dataset's cells that its training left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.zoo.entries import checkpoint_of, read_entries
from leuko_mm.zoo.zoo import compare_figures, describe, fetch, measure, verify, zoo_rows

HEADER = ("name", "parameters", "multiply-adds", "mIoU", "checkpoint")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of ``leuko zoo``."""
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|fetch|verify", required=True
    )
    listing = actions.add_parser("list", help="every model")
    listing.add_argument("--json", action="store_true", help="for programs")
    actions.add_parser("show", help="one model, with its card").add_argument("name")
    fetching = actions.add_parser("fetch", help="get a model's checkpoint")
    fetching.add_argument("name")
    fetching.add_argument("--out", type=Path, help="folder; default: <data home>/zoo")
    fetching.add_argument("--force", action="store_true", help="fetch it anew")
    verifying = actions.add_parser("verify", help="check a checkpoint")
    verifying.add_argument("name", help="a model's name, or a .pth file")
    verifying.add_argument(
        "--accuracy", action="store_true", help="test it, and compare its figures"
    )
    verifying.add_argument("--out", type=Path, help="keep the test's files here")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Do what was asked for and print the outcome."""
    return {"list": _list, "show": _show, "fetch": _fetch, "verify": _verify}[
        args.action
    ](args)


def _list(args: argparse.Namespace) -> int:
    rows = zoo_rows()
    if args.json:
        found = [vars(entry) for entry in read_entries()]
        print(json.dumps(found, indent=1))
        return 0
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    for row in (HEADER, *rows):
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    return 0


def _show(args: argparse.Namespace) -> int:
    print("\n".join(describe(args.name)))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    print(fetch(args.name, out=args.out, force=args.force))
    return 0


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
        return 0
    figures = compare_figures(sidecar, measure(path, sidecar, work_dir=args.out))
    for figure in figures:
        said, found = (
            "-" if v is None else f"{v:.2f}" for v in (figure.said, figure.found)
        )
        word = "as said" if figure.agrees else "differs"
        print(f"{figure.name:16} said {said:>6}  measured {found:>6}  {word}")
    return 0 if all(figure.agrees for figure in figures) else 1
