"""Test a checkpoint on the test part of a split, and write its results.

For example: leuko test cbam_unet work_dirs/RUN/RUN.pth --protocol half --split fold5
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from leuko_mm.cli.train import add_run_arguments, print_outcome, request_fields
from leuko_mm.comparison.results import publish
from leuko_mm.errors import UsageError
from leuko_mm.training.run import TestRequest, run_test


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: mmseg's own, and which data under which protocol."""
    add = parser.add_argument
    add("config", help="the config that the checkpoint was trained with")
    add("checkpoint", help="a .pth file")
    add("--split", help="fold1 ... fold5, ..., or all for every cell")
    add(
        "--work-dir",
        help="default: beside the checkpoint, or in work_dirs/ if it is in the package",
    )
    add(
        "--publish",
        type=_results_file,
        metavar="FILE",
        help="also copy the results to this file, with their cells beside it, such as "
        "results/half/cbam_unet-views8-fold5-s0.json, for leuko compare --report",
    )
    add_run_arguments(parser)


def _results_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".json":
        raise argparse.ArgumentTypeError(f"expected a .json file, got {text!r}")
    return path


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Test and print the table and where everything is."""
    fields = request_fields(args)
    target = fields.pop("publish")
    if target is not None and target.exists() and not args.force:
        raise UsageError(f"{target} is there already; add --force to replace it")
    work_dir = run_test(TestRequest(**fields, command=command))
    if int(os.environ.get("RANK", 0)) == 0:
        print_outcome(work_dir)
        if target is not None:
            try:
                publish(work_dir, target)
            except OSError as error:
                raise UsageError(
                    f"{target} was not written ({error}); the test is done and in "
                    f"{work_dir}"
                ) from error
            print(f"published: {target}")
    return 0
