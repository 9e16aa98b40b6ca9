"""Turn a published dataset, or a synthetic one, into a prepared dataset."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from leuko_mm.datasets.converters.bcisc import prepare_bcisc
from leuko_mm.datasets.converters.synthetic import prepare_synthetic
from leuko_mm.datasets.prepared import data_home, read_about
from leuko_mm.workflows.resolve_config import UsageError

SOURCES = ("bcisc", "synthetic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko prepare``."""
    parser.add_argument("source", choices=SOURCES, help="what the data is")
    parser.add_argument("path", nargs="?", help="its folder (synthetic needs none)")
    parser.add_argument("--out", help="default: <data home>/<source>")
    parser.add_argument(
        "--force", action="store_true", help="replace a dataset with other content"
    )
    parser.add_argument(
        "--slides", type=at_least(2), default=30, help="synthetic: slides"
    )
    parser.add_argument(
        "--cells",
        type=at_least(1),
        default=3,
        help="synthetic: cells of a class and slide",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="synthetic: seed")


def at_least(smallest: int) -> Callable[[str], int]:
    """Return a reader of whole numbers that refuses smaller ones.

    Example:
        >>> at_least(2)("3")
        3
    """

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of {smallest} or more, got {text!r}"
            )
        return int(text)

    return number


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Prepare the dataset and say what it holds."""
    out = Path(args.out) if args.out else data_home() / args.source
    if args.source == "synthetic":
        if args.path:
            raise UsageError("synthetic data is made, not read; leave out the path")
        written = prepare_synthetic(
            out,
            slides=args.slides,
            cells_per_class=args.cells,
            seed=args.seed,
            force=args.force,
        )
    elif not args.path:
        raise UsageError(f"give the folder: leuko prepare {args.source} PATH")
    else:
        written = prepare_bcisc(Path(args.path), out, force=args.force)
    about = read_about(out)
    counts = ", ".join(f"{count} {name}s" for name, count in about["counts"].items())
    state = "prepared" if written else "was prepared already, nothing changed"
    print(f"{out} {state}: {counts}; {about['groups']} groups that no fold divides")
    return 0
