"""Draw contact sheets of a dataset, or of what a config trains on.

A dataset shows its cells and masks; a config also the mosaics that it composes, and
the first batches exactly as its network gets them.
"""

from __future__ import annotations

import argparse

from leuko_mm.browse import KINDS, BrowseRequest, browse
from leuko_mm.cli.main import at_least
from leuko_mm.cli.train import add_cfg_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko browse``."""
    add = parser.add_argument
    add(
        "target",
        metavar="CONFIG_OR_DATASET",
        help="a config's name or path, such as cbam_unet, or a prepared dataset's",
    )
    add("--what", nargs="+", choices=tuple(KINDS), default=(), help="default: all")
    add("--split", help="fold1 ... fold5, paper, ...")
    add("--part", choices=("train", "test"), help="default: train")
    add("--protocol", help="of a config: paper, half, smoke, ...")
    add("--data", help="of a config: another prepared dataset")
    add("--seed", type=at_least(0), help="of sampling and augmentation")
    add("--count", type=at_least(1), help="figures per sheet; batches are shown whole")
    add("--out", help="default: work_dirs/browse-<name>")
    add("--force", action="store_true", help="replace the contact sheets in --out")
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
