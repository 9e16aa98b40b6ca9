"""Time the enhancement, whole fields, or one image of every method.

    python tools/paper/timings.py retinex --json retinex.json
    python tools/paper/timings.py fields CHECKPOINT --json results/field_timing.json
    python tools/paper/timings.py parts FOLDER... --json results/field_parts.json
    python tools/paper/timings.py methods --json results/timing.json

``retinex`` compares AHE-Retinex with its textbook form and OpenCV's CLAHE on one
thread: best and median processor time, peak memory in a process of its own (Linux
only), and the largest difference from the textbook form in uint8. ``fields`` measures
from the file to the differential count on drawn fields with as many cells an area at
every size; starting Python and loading the checkpoint are not in the time. ``parts``
compares what the package's networks find in the parts of a field that they look at with
what they find in all of it, in the images of folders and in drawn fields. ``methods``
measures the processor time of one image on one thread with random weights, for
`leuko compare --report`; only ratios within one file mean anything.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from retinex_reference import ahe_retinex_reference

from leuko_mm.comparison.plan import method_names
from leuko_mm.datasets.images import IMAGE_SUFFIXES, read_image
from leuko_mm.datasets.prepared import DatasetError, dataset_root, read_index
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.matching import match_cells
from leuko_mm.files import write_text
from leuko_mm.inference.cells import differential
from leuko_mm.inference.model import CheckpointError
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.scale import measured_of
from leuko_mm.models.size import build_bare
from leuko_mm.processes import keep_memory
from leuko_mm.report.html import number, table
from leuko_mm.training.config import resolve_config
from leuko_mm.training.preflight import SYNTHETIC, draw_synthetic
from leuko_mm.training.results import as_typed, cpu_name, environment
from leuko_mm.transforms import READINGS, RetinexParams, ahe_retinex, enhance_image
from leuko_mm.transforms.retinex import PRESETS

# retinex

SIZES = {
    "256": (256, 256),
    "512": (512, 512),
    "2048": (1536, 2048),
    "8192": (8192, 8192),
}
LARGEST_TEXTBOOK = 2048 * 1536
SECONDS_A_METHOD = 3.0
CLAHE = "CLAHE on V (OpenCV)"


def smear_like(height: int, width: int) -> np.ndarray:
    """Return a tinted, unevenly lit image with structure of cell size, RGB uint8."""
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 1, (512, 512, 3)).astype(np.float32)
    blobs = cv2.GaussianBlur(tile, (0, 0), 12, borderType=cv2.BORDER_REFLECT)
    tile = (190, 170, 190) + 900 * np.minimum(blobs, 0.02) + 5 * tile
    image = np.clip(tile, 0, 255).astype(np.uint8)
    pad = [(0, max(0, side - 512)) for side in (height, width)]
    padded = np.pad(image, (*pad, (0, 0)), mode="symmetric")
    return np.ascontiguousarray(padded[:height, :width])


def clahe_on_value(image: np.ndarray) -> np.ndarray:
    """Apply OpenCV's CLAHE to V = max(R, G, B)."""
    planes = cv2.split(image)
    value = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    return cv2.createCLAHE(2.0, (8, 8)).apply(value)


def peak_bytes(function: Callable, image: np.ndarray) -> int:
    """Return the memory that one call needs at its peak, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def resident(field: str) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024

    def child() -> None:
        # Memory that earlier calls have freed would be used again and not be counted.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = resident("VmRSS")
        function(image)
        sender.send(resident("VmHWM") - before)

    process = context.Process(target=child)
    process.start()
    peak = receiver.recv()
    process.join()
    return peak


def time_retinex(
    image: np.ndarray, readings: Sequence[str], params: RetinexParams
) -> list[dict]:
    """Return a row for each method on one image."""
    functions: dict[str, Callable] = {CLAHE: clahe_on_value}
    for reading in readings:
        same = dict(reading=reading, params=params)
        if image.shape[0] * image.shape[1] <= LARGEST_TEXTBOOK:
            functions[f"textbook {reading}"] = partial(ahe_retinex_reference, **same)
        functions[f"ahe_retinex {reading}"] = partial(ahe_retinex, **same)
        functions[f"enhance_image {reading}"] = partial(enhance_image, **same)
    rows: dict[str, dict] = {}
    textbooks: dict[str, np.ndarray] = {}
    for name, function in functions.items():
        times, begun = [], time.perf_counter()
        while not times or time.perf_counter() - begun < SECONDS_A_METHOD:
            start = time.thread_time()
            result = function(image)
            times.append(1e3 * (time.thread_time() - start))
        median = statistics.median(times)
        row = rows[name] = dict(
            method=name,
            height=image.shape[0],
            width=image.shape[1],
            ms=round(min(times), 3),
            median_ms=round(median, 3),
            runs=len(times),
            ns_per_pixel=round(median * 1e6 / (image.shape[0] * image.shape[1]), 2),
            peak_mib=round(peak_bytes(function, image) / 2**20, 1),
        )
        kind, _, reading = name.partition(" ")
        if kind == "textbook":
            textbooks[reading] = result
        elif kind == "ahe_retinex" and reading in textbooks:
            off = np.abs(textbooks[reading].astype(np.int16) - result)
            row["deviation_max"] = int(off.max())
            slow = rows[f"textbook {reading}"]["median_ms"]
            row["times_faster"] = round(slow / row["median_ms"], 1)
        if name != CLAHE:
            row["times_clahe"] = round(row["median_ms"] / rows[CLAHE]["median_ms"], 1)
    return list(rows.values())


def run_retinex(args: argparse.Namespace) -> dict:
    """Time the enhancement; return the content of the JSON file."""
    cv2.setNumThreads(1)
    params, rows = RetinexParams.preset(args.preset), []
    for name in args.sizes:
        rows += time_retinex(smear_like(*SIZES[name]), args.readings, params)
    header = ["method", "size", "ms", "median", "ns/px", "MiB", "x textbook"]
    lines = [
        [
            row["method"],
            f"{row['width']} x {row['height']}",
            number(row["ms"], 2),
            number(row["median_ms"], 2),
            number(row["ns_per_pixel"], 1),
            number(row["peak_mib"], 1),
            number(row.get("times_faster"), 0),
        ]
        for row in rows
    ]
    print(table(header, lines))
    return dict(preset=args.preset, rows=rows)


# fields

FIELD = (2048, 1536)
SIDES = (2048, 4096, 8192, 16384)
MOST_PIXELS = 2**30
# Larger fields are timed once.
MOST_PIXELS_REPEATED = 2**24


def drawn_field(
    root: Path, width: int = 2048, height: int = 1536, *, slide: int = 0
) -> np.ndarray:
    """Return an RGB field of synthetic crops of one slide beside each other.

    Args:
        root: the prepared synthetic smears.
        width, height: in pixels; as many cells are on an area at every size.
        slide: number of the slide; beyond the last one they begin again, in another
            order of the crops.
    """
    crops = [row for row in read_index(root) if row.kind == "cell"]
    groups = list(dict.fromkeys(row.group for row in crops))
    again, number = divmod(slide, len(groups))
    crops = [row for row in crops if row.group == groups[number]]
    crops = crops[again:] + crops[:again]
    # Crops show their field at half its size.
    squares = [cv2.resize(read_image(root / c.image), None, fx=2, fy=2) for c in crops]
    side = len(squares[0])
    field = np.empty((height, width, 3), np.uint8)
    places = ((y, x) for y in range(0, height, side) for x in range(0, width, side))
    for i, (y, x) in enumerate(places):
        part = field[y : y + side, x : x + side]
        part[:] = squares[i % len(squares)][: len(part), : part.shape[1]]
    return field


def field_seconds(predictor: Predictor, path: Path) -> tuple[float, int]:
    """Return the time from a file to its count, and how many cells it counts."""
    started = time.perf_counter()
    # The largest have more pixels than a file may usually have.
    image = read_image(path, max_pixels=MOST_PIXELS)
    counted = differential([predictor.predict(image)])
    return time.perf_counter() - started, sum(row.count for row in counted)


def time_fields(
    predictor: Predictor, root: Path, sizes: Sequence[tuple[int, int]], repeats: int
) -> list[dict]:
    """Return a row for each size, (width, height) in pixels."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.jpg"
        for width, height in sizes:
            picture = drawn_field(root, width, height)
            cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            del picture
            count = repeats if width * height <= MOST_PIXELS_REPEATED else 1
            if not rows:
                field_seconds(predictor, path)  # warms up
            timed = [field_seconds(predictor, path) for _ in range(count)]
            median = statistics.median(seconds for seconds, _ in timed)
            row = dict(
                width=width,
                height=height,
                seconds=round(median, 3),
                repeats=count,
                us_per_px=round(1e6 * median / (width * height), 4),
                cells=timed[-1][1],
            )
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def run_fields(args: argparse.Namespace) -> dict:
    """Time whole fields; return the content of the JSON file."""
    draw_synthetic(SYNTHETIC)
    # As `leuko predict` does for images of up to 89 million pixels.
    keep_memory()
    predictor = Predictor(args.checkpoint, runtime=args.runtime)
    sizes = [FIELD, *((side, side) for side in args.sides)]
    rows = time_fields(predictor, dataset_root(SYNTHETIC), sizes, args.repeats)
    lines = [
        [
            f"{row['width']} x {row['height']}",
            number(row["seconds"], 2),
            number(row["us_per_px"], 3),
            number(row["us_per_px"] / rows[0]["us_per_px"], 2),
            str(row["cells"]),
        ]
        for row in rows
    ]
    print(
        table(["field", "seconds", "us a pixel", "against the first", "cells"], lines)
    )
    return dict(
        method=predictor.checkpoint.sidecar["method"],
        runtime=predictor.runtime,
        threads=torch.get_num_threads(),
        rows=rows,
    )


# parts


def compare_parts(paths: Sequence[Path]) -> dict:
    """Return how the cells of parts of images fit those of the whole images."""
    parts, whole = Predictor.from_zoo(), Predictor.from_zoo(exhaustive=True)
    scale = parts.common_scale(measured_of(paths))
    cells, same, overlaps, more, seconds = 0, 0, [], 0, [[], []]
    for path in paths:
        image, found = read_image(path), []
        for predictor, times in zip((parts, whole), seconds, strict=True):
            started = time.perf_counter()
            found.append(predictor.predict(image, scale=scale))
            times.append(time.perf_counter() - started)
        here, there = found
        masks = [there.instances == cell.id for cell in there.cells]
        match = match_cells(masks, here.instances, cells=len(here.cells))
        cells += len(masks)
        more += len(match.false)
        for i, j, overlap in match.found:
            overlaps.append(float(overlap))
            same += there.cells[i].class_id == here.cells[j].class_id
    medians = [statistics.median(times) for times in seconds]
    return dict(
        images=len(paths),
        cells=cells,
        found=len(overlaps),
        same_class=same,
        more=more,
        least_iou=round(min(overlaps, default=1.0), 3),
        share_098=round(sum(x >= 0.98 for x in overlaps) / max(1, len(overlaps)), 4),
        seconds=[round(median, 3) for median in medians],
        times_faster=round(medians[1] / medians[0], 2),
    )


def run_parts(args: argparse.Namespace) -> dict:
    """Compare parts with whole fields; return the content of the JSON file."""
    rows = []
    for folder in args.folders:
        paths = sorted(p for p in folder.iterdir() if p.suffix in IMAGE_SUFFIXES)
        rows.append(dict(fields=folder.name, **compare_parts(paths)))
    if args.drawn:
        draw_synthetic(SYNTHETIC)
        root = dataset_root(SYNTHETIC)
        with tempfile.TemporaryDirectory() as place:
            paths = [Path(place) / f"{i:03}.jpg" for i in range(args.drawn)]
            for i, path in enumerate(paths):
                field = drawn_field(root, *FIELD, slide=i)
                cv2.imwrite(str(path), field[..., ::-1])
            rows.append(dict(fields="drawn", **compare_parts(paths)))
    header = ["fields", "images", "cells", "found", "same class", "least IoU"]
    keys = ("fields", "images", "cells", "found", "same_class", "least_iou")
    lines = [[*(str(row[k]) for k in keys), str(row["times_faster"])] for row in rows]
    print(table([*header, "times faster"], lines))
    return dict(rows=rows)


# methods


def method_milliseconds(name: str, *, size: int, repeats: int) -> float:
    """Return the median processor time of one image in milliseconds.

    Args:
        name: a method's config.
        size: side of the image, in pixels.
        repeats: how many, after one that warms up.
    """
    model = build_bare(resolve_config(name)).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, size, size, generator=generator)
    metas = [dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), (size, size))]
    times = []
    with torch.no_grad():
        for _ in range(repeats + 1):
            started = time.process_time()
            model.encode_decode(image, metas)
            times.append(1000 * (time.process_time() - started))
    return round(statistics.median(times[1:]), 1)


def run_methods(args: argparse.Namespace) -> dict:
    """Time every method; return the content of the JSON file."""
    torch.set_num_threads(1)
    methods = {}
    for name in args.methods or method_names():
        methods[name] = method_milliseconds(name, size=args.size, repeats=args.repeats)
        print(f"{name}: {methods[name]} ms", flush=True)
    return dict(
        methods=methods,
        size=args.size,
        repeats=args.repeats,
        threads=1,
        clock="processor time",
        machine=cpu_name(),
        torch=torch.__version__,
    )


# command line


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = parser.add_subparsers(dest="job", required=True)

    retinex = jobs.add_parser("retinex", help="the enhancement")
    retinex.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    choices = dict(choices=READINGS, default=list(READINGS))
    retinex.add_argument("--readings", nargs="+", **choices)
    retinex.add_argument("--preset", choices=PRESETS, default="default")
    retinex.set_defaults(run=run_retinex)

    fields = jobs.add_parser("fields", help="from a file to its differential count")
    fields.add_argument("checkpoint", type=Path, help="a .pth or .onnx")
    fields.add_argument("--repeats", type=int, default=7)
    fields.add_argument("--runtime", help="as leuko predict takes it")
    fields.add_argument(
        "--sides", type=int, nargs="*", default=SIDES, help="of square fields, pixels"
    )
    fields.set_defaults(run=run_fields)

    parts = jobs.add_parser("parts", help="parts of fields against whole fields")
    parts.add_argument("folders", nargs="*", type=Path, help="folders of images")
    parts.add_argument("--drawn", type=int, default=0, help="so many drawn fields")
    parts.set_defaults(run=run_parts)

    methods = jobs.add_parser("methods", help="one image of every method")
    methods.add_argument("--methods", nargs="+", help="default: all")
    methods.add_argument("--size", type=int, default=256, help="pixels")
    methods.add_argument("--repeats", type=int, default=5)
    methods.set_defaults(run=run_methods)

    for job in (retinex, fields, parts, methods):
        job.add_argument("--json", type=Path, help="write all numbers here")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parser().parse_args(argv)
    try:
        content = args.run(args)
    except (CheckpointError, DatasetError, UsageError, ValueError) as error:
        print(f"timings.py: {error}", file=sys.stderr)
        return 2
    if args.json:
        words = sys.argv[1:] if argv is None else argv
        command = as_typed(["tools/paper/timings.py", *words])
        content = dict(command=command, **content, env=environment())
        write_text(args.json, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
