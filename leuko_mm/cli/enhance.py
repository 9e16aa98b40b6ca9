"""Enhance smear images by AHE-Retinex: a file, or every image of a folder.

Reads PNG, JPEG, TIFF and BMP, writes PNG. Shrink photographs first in which leukocytes
are wider than about 130 pixels, the scale that models see.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED
from leuko_mm.enhance import enhance_files
from leuko_mm.files import printable
from leuko_mm.progress import ProgressLine
from leuko_mm.transforms.retinex import PRESETS, READINGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko enhance``."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="an image or a folder of images")
    add(
        "out", type=Path, metavar="OUT", help="a folder; for one image also a .png file"
    )
    add(
        "--reading",
        choices=READINGS,
        default="hsv",
        help="channels that the retinex works on (default: hsv, that is H and S)",
    )
    add("--preset", choices=PRESETS, default="default")
    add("--force", action="store_true", help="replace files that exist")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Enhance, list what could not be, and say how many were."""
    said: list[str] = []
    with ProgressLine("enhancing") as line:
        outcome = enhance_files(
            **vars(args),
            progress=lambda done, total, file: line(done, total, printable(file.name)),
            say=said.append,
        )
    failed = {file: reason for file, reason in outcome.items() if reason}
    for file, reason in failed.items():
        words = reason if str(file) in reason else f"{file}: {reason}"
        print(f"not enhanced: {printable(words)}", file=sys.stderr)
    print(
        f"{len(outcome) - len(failed)} of {len(outcome)} enhanced "
        f"({args.reading}, {args.preset}) into {args.out}",
        *said,
        sep="\n",
    )
    return SOME_FAILED if failed else DONE
