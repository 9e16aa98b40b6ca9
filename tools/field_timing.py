"""Time whole fields, from the file to the differential count, and how time grows.

    python tools/field_timing.py CHECKPOINT --json results/field_timing.json

Fields are drawn: squares of the synthetic smears beside each other, with as many cells
and red cells an area at every size. The first one, of 2048 x 1536, is predicted once
without counting; then each is `--repeats` times, and those above 2^24 pixels once.
Reading the file, measuring its red cells for the scale, the network, the cells and the
count are in the time, starting Python and loading the checkpoint are not. Memory is
kept, as `leuko predict` does up to 89 million pixels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from leuko_mm.datasets.drawn_field import drawn_field
from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.kept_memory import keep_memory
from leuko_mm.files import write_text
from leuko_mm.inference.checkpoint import CheckpointError
from leuko_mm.inference.differential import differential
from leuko_mm.inference.predictor import Predictor
from leuko_mm.report.markdown import number, table
from leuko_mm.workflows.preflight import SYNTHETIC, draw_synthetic
from leuko_mm.workflows.run_facts import environment
from leuko_mm.workflows.typed_command import as_typed

FIELD = (2048, 1536)
SIDES = (2048, 4096, 8192, 16384)
MOST_PIXELS = 2**30
# Pixels of a field that is timed more than once.
SEVERAL = 2**24


def seconds(predictor: Predictor, path: Path) -> tuple[float, int]:
    """Return how long a file takes to its count, and how many cells that counts."""
    started = time.perf_counter()
    # The largest are beyond what a file may usually promise.
    image = read_image(path, max_pixels=MOST_PIXELS)
    counted = differential([predictor.predict(image)])
    return time.perf_counter() - started, sum(row.count for row in counted)


def measure(
    predictor: Predictor, root: Path, sizes: Sequence[tuple[int, int]], repeats: int
) -> list[dict]:
    """Return a row for each size, width and height; the largest are timed once."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.jpg"
        for width, height in sizes:
            picture = drawn_field(root, width, height)
            cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            del picture
            again = repeats if width * height <= SEVERAL else 1
            if not rows:
                seconds(predictor, path)
            timed = [seconds(predictor, path) for _ in range(again)]
            median = statistics.median(t for t, _ in timed)
            row = dict(
                width=width,
                height=height,
                seconds=round(median, 3),
                repeats=again,
                us_per_px=round(1e6 * median / (width * height), 4),
                cells=timed[-1][1],
            )
            print(row, flush=True)
            rows.append(row)
    return rows


def as_table(rows: Sequence[dict]) -> str:
    """Return the rows as Markdown."""
    first = rows[0]["us_per_px"]
    return table(
        ["field", "seconds", "us a pixel", "against the first", "cells"],
        [
            [
                f"{row['width']} x {row['height']}",
                number(row["seconds"], 2),
                number(row["us_per_px"], 3),
                number(row["us_per_px"] / first, 2),
                str(row["cells"]),
            ]
            for row in rows
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a .pth or .onnx")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--runtime", help="as leuko predict takes it")
    parser.add_argument(
        "--sides", type=int, nargs="*", default=SIDES, help="of square fields, pixels"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    try:
        draw_synthetic(SYNTHETIC)
        keep_memory()
        predictor = Predictor(args.checkpoint, runtime=args.runtime)
        sizes = [FIELD, *((side, side) for side in args.sides)]
        rows = measure(predictor, dataset_root(SYNTHETIC), sizes, args.repeats)
    except (CheckpointError, DatasetError, ValueError) as error:
        print(f"field_timing: {error}", file=sys.stderr)
        return 2
    print(as_table(rows))
    if args.json:
        words = sys.argv[1:] if argv is None else argv
        about = dict(
            command=as_typed(["tools/field_timing.py", *words]),
            method=predictor.checkpoint.sidecar["method"],
            runtime=predictor.runtime,
            threads=torch.get_num_threads(),
            rows=rows,
            env=environment(),
        )
        write_text(args.json, json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
