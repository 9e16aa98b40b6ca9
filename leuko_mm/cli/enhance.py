"""Enhance smear images by AHE-Retinex: a file, or every image of a folder.

Reads PNG, JPEG, TIFF and BMP, writes PNG. All lengths of the method are pixels at the
scale that models see (a leukocyte about 80 to 130 pixels wide): shrink photographs
with larger cells first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED
from leuko_mm.enhance import EnhanceRequest, enhance_files
from leuko_mm.progress import ProgressLine
from leuko_mm.transforms.retinex import PRESETS, READINGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``leuko enhance``."""
    parser.add_argument("source", metavar="IN", help="an image or a folder of images")
    parser.add_argument(
        "out", metavar="OUT", help="a folder; for one image also a .png file"
    )
    parser.add_argument(
        "--reading",
        choices=READINGS,
        default="hsv",
        help="channels that the retinex works on (default: hsv, that is H and S)",
    )
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument(
        "--recursive", action="store_true", help="enter the folders of the folder"
    )
    parser.add_argument(
        "--side-by-side",
        action="store_true",
        help="also write each original beside its result",
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Enhance, list what could not be, and say how many were."""
    request = EnhanceRequest(
        source=Path(args.source),
        out=Path(args.out),
        reading=args.reading,
        preset=args.preset,
        recursive=args.recursive,
        beside=args.side_by_side,
        force=args.force,
    )
    with ProgressLine("enhancing") as line:
        outcome = enhance_files(
            request, progress=lambda done, total, file: line(done, total, file.name)
        )
    for file, reason in outcome.failed.items():
        said = reason if str(file) in reason else f"{file}: {reason}"
        print(f"not enhanced: {said}", file=sys.stderr)
    total = len(outcome.written) + len(outcome.failed)
    print(
        f"{len(outcome.written)} of {total} enhanced ({args.reading}, {args.preset}) "
        f"into {args.out}"
    )
    return SOME_FAILED if outcome.failed else DONE
