"""Find the leukocytes of smear images, name their classes, and count them.

Writes for every image a mask, an overlay and a cut-out of each cell, and for all of
them tables and report.html, a page to look at the doubtful cells and to correct them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED
from leuko_mm.datasets.images import MAX_PIXELS
from leuko_mm.engine.runner import keep_memory
from leuko_mm.errors import UsageError
from leuko_mm.files import printable
from leuko_mm.inference.cells import UNSURE
from leuko_mm.inference.folder_run import (
    REPORT,
    Exchange,
    PredictOutcome,
    PredictRequest,
    Progress,
    merge_parts,
    predict_files,
)
from leuko_mm.inference.model import DEFAULT_MODEL, RUNTIMES
from leuko_mm.inference.outputs import count_table
from leuko_mm.processes import LAUNCHERS, share_of
from leuko_mm.progress import ProgressLine, duration
from leuko_mm.zoo.entries import checkpoint_of, read_entries

# How a scale was found, in front of the number of images.
WAYS = {
    "factor": "as given for",
    "um_per_px": "by the size of a pixel in",
    "red cells": "by red cells in",
    "assumed": "only assumed in",
}


def outcome_lines(outcome: PredictOutcome, out: Path) -> list[str]:
    """Return what was found, for a terminal."""
    total = len(outcome.records) + len(outcome.failed)
    before = len(outcome.records) - outcome.new
    former = f" ({before} of them before)" if before else ""
    lines = [f"{len(outcome.records)} of {total} images done{former}"]
    if outcome.records:
        names = outcome.records[0]["classes"][1:]
        rows = count_table(outcome.records, names)
        width = max(map(len, names))
        lines += [
            f"  {row.name:{width}}  {row.count:5}  {row.percent:5.1f} %  "
            f"({row.low:.1f} to {row.high:.1f})"
            for row in rows
        ]
        lines += _scale_lines(outcome)
    return [*lines, f"look at {out / REPORT}"]


def _scale_lines(outcome: PredictOutcome) -> list[str]:
    scales = [record["scale"] for record in outcome.records]
    factors = sorted(scale["factor"] for scale in scales)
    ways = Counter(scale["how"] for scale in scales)
    counted = ", ".join(f"{WAYS.get(way, way)} {n}" for way, n in ways.items())
    sure = min(scale["confidence"] for scale in scales)
    told = (
        f"{factors[0]:.3g} to {factors[-1]:.3g} ({counted}), the least sure to "
        f"{sure:.0%}; image by image in images.csv"
    )
    if len(scales) == 1:
        told = scales[0]["note"] or told
    lines = [f"scale: {told}"]
    unsure = sum(scale["confidence"] < UNSURE for scale in scales)
    if unsure:
        lines.append(
            f"in {unsure} of {len(scales)} images the scale is sure to less than "
            f"{UNSURE:.0%}: cells there may be missed or get another class; give "
            "--scale or --um-per-px if you know it"
        )
    return lines


AUTO = "auto"
SYNTHETIC = "synthetic"
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: what to look at, with what, and where to."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="images, folders, patterns"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a .pth of leuko train or an .onnx of leuko export, its .json beside it, "
        f"or a model's name as in leuko zoo list; default: {DEFAULT_MODEL}",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="what runs the network: torch a .pth, the others an .onnx; default: "
        "what fits the file, openvino first",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: what is there")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--scale",
        type=_scale,
        metavar="FACTOR",
        help="pixels of the network per pixel of the images, or auto (default): from "
        "the size of the red cells",
    )
    size.add_argument(
        "--um-per-px",
        type=_positive,
        metavar="UM",
        help="size of a pixel of the images in micrometres, instead of --scale",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="eight mirrored and turned views of each image, at eight times the time",
    )
    parser.add_argument(
        "--min-area",
        type=_area,
        metavar="PX",
        help="smaller things are no cells; pixels of the images",
    )
    parser.add_argument(
        "--max-megapixels",
        type=_positive,
        default=MAX_PIXELS / 1e6,
        metavar="N",
        help="refuse images of more million pixels (default: %(default).0f)",
    )
    parser.add_argument("--coco", action="store_true", help="write coco.json, too")
    parser.add_argument(
        "--geojson", action="store_true", help="write GeoJSON for QuPath, too"
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument(
        "--resume", action="store_true", help="go on with what is in --out"
    )
    there.add_argument("--force", action="store_true", help="replace what is in --out")
    parser.add_argument(
        "--shard", metavar="I/N", help="do the I-th of N parts, I from 0"
    )
    parser.add_argument(
        "--launcher",
        choices=["none", *LAUNCHERS],
        default="none",
        help="divide the images over the processes that torchrun (pytorch) or srun "
        "(slurm) started; each writes DIR/part-<n>",
    )
    parser.add_argument(
        "--merge",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="join the folders that --shard made; no PATH is given then",
    )


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Look at the images or join parts, then print what was found."""
    exchange = Exchange(coco=args.coco, geojson=args.geojson)
    if args.merge:
        if args.paths or args.shard or args.resume or args.launcher != "none":
            raise UsageError(
                "--merge joins folders of results: no PATH, --shard or --launcher"
            )
        outcome = merge_parts(args.merge, args.out, exchange=exchange, force=args.force)
    elif not args.paths:
        raise UsageError("give images or folders: leuko predict PATH --out DIR")
    else:
        request = _request(args)
        if request.max_megapixels <= MAX_PIXELS / 1e6:
            # Of the largest images, what fits nowhere into kept memory is too much.
            keep_memory()
        with ProgressLine("predicting") as line:
            outcome = predict_files(request, progress=_told_on(line))
        _warn_of_drawn_cells(request.checkpoint)
    print("\n".join(outcome_lines(outcome, args.out if args.merge else request.out)))
    if args.launcher != "none":
        print(f"once all are done: leuko predict --merge {args.out}/part-* --out ...")
    _print_failed(outcome)
    return SOME_FAILED if outcome.failed else DONE


def _warn_of_drawn_cells(checkpoint: Path | None) -> None:
    """Say so where a network has never seen a real cell."""
    sidecar = checkpoint and checkpoint.with_suffix(".json")
    try:
        training = json.loads(sidecar.read_text(encoding="utf-8"))["training"]
        drawn = training["dataset"] == SYNTHETIC
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return  # whether it is fit at all is said elsewhere
    if drawn:
        print(
            f"warning: {checkpoint} was trained on drawn cells alone; what it says of "
            "real images means nothing. Train on real ones: docs/data.md",
            file=sys.stderr,
        )


def _request(args: argparse.Namespace) -> PredictRequest:
    given = {
        key: value
        for key, value in vars(args).items()
        if key not in ("merge", "scale", "launcher")
    }
    if args.launcher != "none":
        share = share_of(args.shard, args.launcher)
        given["shard"] = f"{share.index}/{share.count}"
        given["out"] = args.out / f"part-{share.index}"
    named = args.checkpoint
    if named and not named.exists() and str(named) in {e.name for e in read_entries()}:
        given["checkpoint"] = checkpoint_of(str(named))
    return PredictRequest(
        **given, scale=None if args.scale in (None, AUTO) else args.scale
    )


def _print_failed(outcome: PredictOutcome) -> None:
    for name, reason in list(outcome.failed.items())[:SHOWN]:
        print(f"not read: {printable(name)}: {printable(reason)}", file=sys.stderr)
    more = len(outcome.failed) - SHOWN
    if more > 0:
        print(f"and {more} more, all of them in images.csv", file=sys.stderr)


def _told_on(line: ProgressLine) -> Progress:
    def tell(done: int, total: int, name: str, left: float | None) -> None:
        time = "" if left is None else f"({duration(left)} left) "
        line(done, total, time + printable(name))

    return tell


def _scale(text: str) -> float | str:
    return AUTO if text == AUTO else _positive(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _area(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)
