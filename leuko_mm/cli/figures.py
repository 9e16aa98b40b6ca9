"""Draw the figures of the paper with a dataset's own cells and your networks.

Cells of a split's test part are shown, and only by networks that have not learnt from
them. Figures of real cells are for you; whether they may be passed on is the
dataset's licence to say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from leuko_mm.cli.main import DONE
from leuko_mm.cli.prepare import at_least
from leuko_mm.workflows.figures import FiguresRequest, draw_figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko figures``."""
    parser.add_argument(
        "--dataset", default="bcisc", help="a name or a path; default: bcisc"
    )
    parser.add_argument(
        "--split", default="fold5", help="whose test cells are shown; default: fold5"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="show this network, too; may be given several times",
    )
    parser.add_argument(
        "--methods",
        type=lambda text: text.split(","),
        default=[],
        metavar="NAME,NAME",
        help="whose networks stand in Fig. 9, in this order, or all; default: the "
        "paper's: U-Net, DeepLabv3+, PSPNet, CBAM U-Net",
    )
    parser.add_argument(
        "--work-dirs",
        default="work_dirs",
        help="the networks below it are shown; default: work_dirs",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="which cells; default: 0"
    )
    parser.add_argument(
        "--out", default="figures", help="folder to write; default: figures"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the figures in --out"
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Draw the figures, say where they are and what they lack."""
    outcome = draw_figures(
        FiguresRequest(
            out=Path(args.out),
            dataset=args.dataset,
            split=args.split,
            checkpoints=args.checkpoint,
            methods=args.methods,
            work_dirs=Path(args.work_dirs),
            seed=args.seed,
            force=args.force,
        )
    )
    for path in outcome.written:
        print(f"written:  {path}")
    for line in outcome.left_out:
        print(f"left out: {line}")
    return DONE
