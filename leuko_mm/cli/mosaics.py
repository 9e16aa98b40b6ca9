"""Write mosaics of single cells: images, masks, and an index of every tile's cell."""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.prepare import at_least
from leuko_mm.datasets.mosaic_options import LAYOUTS
from leuko_mm.datasets.prepared import PARTS
from leuko_mm.transforms.retinex_params import READINGS
from leuko_mm.workflows.mosaics import MosaicsRequest, write_mosaics
from leuko_mm.workflows.resolve_config import EVERY_CELL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko mosaics``."""
    number = dict(type=at_least(1))
    parser.add_argument("name", help="prepared dataset: a name or a path")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--split", default=EVERY_CELL, help="fold1, ..., or all for every cell (usual)"
    )
    parser.add_argument("--part", choices=PARTS, default="train", help="default: train")
    parser.add_argument("--n", **number, default=2, help="tiles along a side (2)")
    parser.add_argument("--size", **number, default=512, help="side in pixels (512)")
    parser.add_argument(
        "--mosaics", **number, help="how many; left out, every cell is shown once"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    parser.add_argument(
        "--class-balanced",
        action="store_true",
        help="draw every class equally often (with --mosaics)",
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="grid",
        help="grid, or scattered: cells anywhere on one background without seams",
    )
    parser.add_argument(
        "--enhance",
        choices=READINGS,
        help="apply this reading of AHE-Retinex to each tile first",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace other mosaics in the folder"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Write the mosaics and say what they hold."""
    outcome = write_mosaics(MosaicsRequest(**vars(args)))
    state = "written" if outcome.written else "was written already, nothing changed"
    spare = f", {outcome.spare} tile(s) left empty" if outcome.spare else ""
    print(
        f"{args.out} {state}: {outcome.mosaics} mosaics of {outcome.cells} cells in "
        f"{outcome.tiles - outcome.spare} tiles{spare}; index.csv names each"
    )
    return 0
