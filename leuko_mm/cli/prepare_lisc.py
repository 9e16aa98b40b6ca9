"""The arguments of ``leuko prepare lisc``."""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.prepare import at_least, print_outcome
from leuko_mm.datasets.converters.lisc import prepare_lisc
from leuko_mm.datasets.prepared import data_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whose masks are wanted."""
    parser.add_argument(
        "--expert", type=at_least(1), default=1, help="whose masks, where two drew them"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Prepare the pictures and say what there is."""
    out = Path(args.out) if args.out else data_home() / "lisc"
    written = prepare_lisc(Path(args.path), out, expert=args.expert, force=args.force)
    print_outcome(out, written)
    return 0
