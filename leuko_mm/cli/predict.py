"""Find the leukocytes of smear images, name their classes, and count them.

For each image it writes a mask, an overlay and a cut-out of each cell. For all of them
it writes tables, and report.html, a page that shows the cells and where they are
corrected.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path

from leuko_mm.cli.main import DONE, SOME_FAILED, at_least, number_below
from leuko_mm.datasets.images import MAX_PIXELS
from leuko_mm.errors import UsageError
from leuko_mm.files import printable, read_any_json
from leuko_mm.inference.cells import UNSURE_SCALE
from leuko_mm.inference.folder_run import (
    PredictOutcome,
    PredictRequest,
    predict_files,
)
from leuko_mm.inference.model import DEFAULT_MODEL
from leuko_mm.inference.outputs import REPORT, UNITS, count_table
from leuko_mm.inference.runtimes import RUNTIMES
from leuko_mm.inference.scale import ANOTHER_SIZE, AUTO, MEASURING
from leuko_mm.processes import DASK_HELP, keep_memory
from leuko_mm.progress import ProgressLine
from leuko_mm.zoo.entries import network_at

SHOWN_FAILURES = 20
PREDICTING = "predicting"
# How a scale was found, in front of the number of images.
SCALE_SOURCES = {
    "factor": "as given for",
    "um_per_px": "by the size of a pixel in",
    "red cells": "by red cells in",
    "leukocytes": "by leukocytes in",
    "assumed": "only assumed in",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: which images, with what, and where to."""
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="images, folders, patterns")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a .pth of leuko train or an .onnx of leuko export, its .json beside it, "
        f"or a model's name as in leuko zoo list; default: {DEFAULT_MODEL}",
    )
    add(
        "--classifier",
        metavar="FILE",
        help="a checkpoint that names the cells, or a model's name; default: the one "
        "that belongs to --checkpoint; none: the classes of --checkpoint",
    )
    add(
        "--runtime",
        choices=RUNTIMES,
        help="what runs the network: torch a .pth, the others an .onnx; default: "
        "what fits the file, openvino first",
    )
    add("--device", help="cpu, cuda, cuda:1; default: a GPU if there is one")
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
        type=number_below(),
        metavar="UM",
        help="size of a pixel of the images in micrometres, instead of --scale",
    )
    add("--tta", action="store_true", help="average over eight views; takes longer")
    add(
        "--exhaustive",
        action="store_true",
        help="segment every pixel of large images, not only around what is stained as "
        "nuclei are",
    )
    add(
        "--min-area",
        type=at_least(0),
        metavar="PX",
        help="smaller things are no cells; pixels of the images",
    )
    add(
        "--accept",
        type=float,
        metavar="SHARE",
        help="confidence from 0 to 1 from which the class of a cell counts; below, the "
        "cell is unsure; default: what the model's .json says, else 0",
    )
    add(
        "--max-megapixels",
        type=number_below(),
        default=MAX_PIXELS / 1e6,
        metavar="N",
        help="refuse images of more million pixels (default: %(default).0f)",
    )
    add("--coco", action="store_true", help="write coco.json, too")
    add("--geojson", action="store_true", help="write GeoJSON for QuPath, too")
    either = parser.add_mutually_exclusive_group().add_argument
    either("--resume", action="store_true", help="continue with what is in --out")
    either("--force", action="store_true", help="replace what is in --out")
    add("--dask", metavar="ADDRESS", help=DASK_HELP)


def run(args: argparse.Namespace, command: list[str]) -> int:
    """Predict the images, then print the counts."""
    out, request = args.out, _request(args)
    if request.max_megapixels <= MAX_PIXELS / 1e6:
        # Kept memory that fits no later image would be too much of the largest.
        keep_memory()
    outcome = _predict(request)
    _warn_of_synthetic_training(request.checkpoint)
    print("\n".join(outcome_lines(outcome, out)))
    for name, reason in list(outcome.failed.items())[:SHOWN_FAILURES]:
        print(f"not read: {printable(name)}: {printable(reason)}", file=sys.stderr)
    if (more := len(outcome.failed) - SHOWN_FAILURES) > 0:
        print(f"and {more} more, all of them in images.csv", file=sys.stderr)
    return SOME_FAILED if outcome.failed or outcome.closed else DONE


def _request(args: argparse.Namespace) -> PredictRequest:
    given = vars(args).copy()
    runs_on = dict(device=args.device, runtime=args.runtime)
    if args.checkpoint:
        given["checkpoint"] = network_at(args.checkpoint, **runs_on)
    if args.classifier == "":
        raise UsageError("--classifier is empty; name a class network, or none")
    if args.classifier == "none":
        given["classifier"] = ""
    elif args.classifier:
        given["classifier"] = str(network_at(Path(args.classifier), **runs_on))
    if args.scale == AUTO:
        given["scale"] = None
    return PredictRequest(**given)


def _predict(request: PredictRequest) -> PredictOutcome:
    with ProgressLine(PREDICTING) as line:

        def show(done: int, total: int, name: str) -> None:
            line.words, name = (name, "") if name == MEASURING else (PREDICTING, name)
            line(done, total, printable(name))

        return predict_files(request, progress=show)


def _warn_of_synthetic_training(checkpoint: Path | None) -> None:
    sidecar = checkpoint and checkpoint.with_suffix(".json")
    try:
        training = read_any_json(sidecar)["training"]
        synthetic = training["dataset"] == "synthetic"
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return  # a broken sidecar is refused elsewhere
    if synthetic:
        print(
            f"warning: {checkpoint} was trained on drawn cells alone; what it says of "
            "real images means nothing. Train on real ones: docs/train.md",
            file=sys.stderr,
        )


def outcome_lines(outcome: PredictOutcome, out: Path) -> list[str]:
    """Return counts and scales, for a terminal."""
    total = len(outcome.records) + len(outcome.failed)
    before = len(outcome.records) - outcome.new
    former = f" ({before} of them before)" if before else ""
    lines = [f"{len(outcome.records)} of {total} images done{former}"]
    if outcome.records:
        rows = count_table(outcome.records, outcome.records[0]["classes"])
        width = max(len(row.name) for row in rows)
        for row in rows:
            line = f"  {row.name:{width}}  {row.count:5}"
            if not math.isnan(row.percent):
                line += f"  {row.percent:5.1f} {UNITS.get(row.name, '%')}"
                line += f"  ({row.low:.1f} to {row.high:.1f})"
            lines.append(line)
        lines += _scale_lines([record["scale"] for record in outcome.records])
    return [*lines, *outcome.notes(), f"look at {out / REPORT}"]


def _scale_lines(scales: list[dict]) -> list[str]:
    factors = sorted(scale["factor"] for scale in scales)
    sources = Counter(scale["how"] for scale in scales)
    counted = ", ".join(
        f"{SCALE_SOURCES.get(how, how)} {n}" for how, n in sources.items()
    )
    summary = f"scale {factors[0]:.3g} to {factors[-1]:.3g} ({counted})"
    notes = {scale["note"].partition(f"; {ANOTHER_SIZE}")[0] for scale in scales}
    if len(notes) == 1:
        summary = notes.pop() or summary
    lines = [f"{summary}; image by image in images.csv"]
    if unsure := sum(scale["confidence"] < UNSURE_SCALE for scale in scales):
        lines.append(
            f"in {unsure} of {len(scales)} images the scale is sure to less than "
            f"{UNSURE_SCALE:.0%}: cells there may be missed or get another class; give "
            "--scale or --um-per-px if you know it"
        )
    return lines


def _scale(text: str) -> float | str:
    return AUTO if text == AUTO else number_below()(text)
