"""Test a checkpoint on the test part of a split, and write its results.

For example: leuko test cbam_unet work_dirs/RUN/RUN.pth --protocol half --split fold5
"""

from __future__ import annotations

import argparse
import os

from leuko_mm.cli.train import (
    add_runner_arguments,
    add_setting_argument,
    print_outcome,
)
from leuko_mm.workflows.test import TestRequest, run_test


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: mmseg's own, and which data under which protocol."""
    parser.add_argument(
        "config", help="the config that the checkpoint was trained with"
    )
    parser.add_argument("checkpoint", help="a .pth file")
    parser.add_argument("--protocol", help="paper, half, smoke, ...")
    add_setting_argument(parser)
    parser.add_argument("--split", help="fold1 ... fold5, ..., or all for every cell")
    parser.add_argument("--data", help="prepared dataset: a name or a path")
    parser.add_argument("--work-dir", help="default: beside the checkpoint")
    parser.add_argument(
        "--force", action="store_true", help="replace the test in the work dir"
    )
    add_runner_arguments(parser)


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Test and print the table and where everything is."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    options = {k: v for k, v in vars(args).items() if k not in ("cfg_options",)}
    options.pop("local_rank")
    work_dir = run_test(
        TestRequest(**options, options=args.cfg_options, command=command)
    )
    if int(os.environ.get("RANK", 0)) == 0:
        print_outcome(work_dir)
    return 0
