"""The arguments of ``leuko prepare segmentation_wbc``."""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.prepare import print_outcome
from leuko_mm.datasets.converters.segmentation_wbc import SETS, prepare_segmentation_wbc
from leuko_mm.datasets.prepared import data_home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which of the two sets is wanted."""
    parser.add_argument(
        "--set",
        dest="chosen",
        choices=SETS,
        default="both",
        help="one set as a dataset of its own (segmentation_wbc_1, _2), or both in one",
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Prepare the sets and say what there is."""
    suffix = "" if args.chosen == "both" else f"_{args.chosen}"
    out = Path(args.out) if args.out else data_home() / f"segmentation_wbc{suffix}"
    written = prepare_segmentation_wbc(
        Path(args.path), out, chosen=args.chosen, force=args.force
    )
    print_outcome(out, written)
    return 0
