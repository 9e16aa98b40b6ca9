"""Draw contact sheets of a dataset, or of what a config trains on.

A dataset shows its cells and masks; a config also the mosaics that it composes, and
the first batches exactly as its network gets them.
"""

from __future__ import annotations

import argparse

from leuko_mm.browse import KINDS, BrowseRequest, browse
from leuko_mm.cli.prepare import at_least
from leuko_mm.cli.train import add_cfg_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko browse``."""
    parser.add_argument(
        "target",
        metavar="CONFIG_OR_DATASET",
        help="a config's name or path, such as cbam_unet, or a prepared dataset's",
    )
    parser.add_argument(
        "--what", nargs="+", choices=tuple(KINDS), default=(), help="default: all"
    )
    parser.add_argument("--split", help="fold1 ... fold5, paper, ...")
    parser.add_argument("--part", choices=("train", "test"), help="default: train")
    parser.add_argument("--protocol", help="of a config: paper, half, smoke, ...")
    parser.add_argument("--data", help="of a config: another prepared dataset")
    parser.add_argument("--seed", type=at_least(0), help="of sampling and augmentation")
    parser.add_argument(
        "--count", type=at_least(1), help="figures per sheet; batches are shown whole"
    )
    parser.add_argument("--out", help="default: work_dirs/browse-<name>")
    parser.add_argument(
        "--force", action="store_true", help="replace the contact sheets in --out"
    )
    add_cfg_options(parser, "override any key of the config")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Draw the sheets and print where they are."""
    given = {key: value for key, value in vars(args).items() if key != "cfg_options"}
    request = BrowseRequest(**given, options=args.cfg_options, command=command)
    page = browse(request)
    print(f"page:    {page}")
    for sheet in sorted(page.parent.glob("*.png")):
        print(f"sheet:   {sheet}")
    return 0
