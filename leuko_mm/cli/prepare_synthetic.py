"""The arguments of ``leuko prepare synthetic``."""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.prepare import at_least, print_outcome
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.prepared import data_home
from leuko_mm.progress import ProgressLine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how much is drawn, and from which seed."""
    parser.add_argument("--slides", type=at_least(2), default=30, help="slides")
    parser.add_argument(
        "--cells", type=at_least(1), default=3, help="cells of a class and slide"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the drawing")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Draw the smears and say what there is."""
    out = Path(args.out) if args.out else data_home() / "synthetic"
    with ProgressLine("drawing cells") as line:
        written = prepare_synthetic(
            out,
            slides=args.slides,
            cells_per_class=args.cells,
            seed=args.seed,
            force=args.force,
            progress=line,
        )
    print_outcome(out, written)
    return 0
