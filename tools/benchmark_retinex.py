"""Time AHE-Retinex against its textbook form and against plain CLAHE.

    python tools/benchmark_retinex.py --json benchmark.json

One thread. Times are processor time, which other work disturbs least: of the best run,
and of the median one, from which the ratios are taken. Peak memory is what a process of
its own grows by (Linux only). The deviation is the largest and the 99.9th percentile of
the difference from the uint8 output of the reference. scikit-image may be absent.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.transforms import READINGS, RetinexParams, ahe_retinex, enhance_image
from leuko_mm.transforms.retinex_params import PRESETS
from leuko_mm.transforms.retinex_reference import ahe_retinex_reference
from leuko_mm.workflows.peak_memory import resident

SIZES = {
    "256": (256, 256),
    "512": (512, 512),
    "2048": (1536, 2048),
    "8192": (8192, 8192),
}
LARGEST_REFERENCE = 2048 * 1536
SECONDS_A_METHOD = 3.0
CLAHE = "CLAHE on V (OpenCV)"
SKIMAGE = "equalize_adapthist (scikit-image)"
# What the fast path is held to, from the medians.
LEAST_TIMES_FASTER = 300
MOST_TIMES_CLAHE = 10
MOST_TIMES_A_PIXEL = 3


def smear_like(height: int, width: int) -> np.ndarray:
    """Return a tinted, unevenly lit image with structure of cell size, RGB uint8."""
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 1, (512, 512, 3)).astype(np.float32)
    blobs = cv2.GaussianBlur(tile, (0, 0), 12, borderType=cv2.BORDER_REFLECT)
    tile = (190, 170, 190) + 900 * np.minimum(blobs, 0.02) + 5 * tile
    return fill(np.clip(tile, 0, 255).astype(np.uint8), height, width)


def fill(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop the image to the size, or repeat it mirrored until it is filled."""
    down, right = (
        max(0, n - s) for n, s in zip((height, width), image.shape[:2], strict=True)
    )
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), mode="symmetric")
    return np.ascontiguousarray(padded[:height, :width])


def clahe_on_value(image: np.ndarray) -> np.ndarray:
    """Apply OpenCV's CLAHE to V = max(R, G, B); nothing else."""
    planes = cv2.split(image)
    value = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    return cv2.createCLAHE(2.0, (8, 8)).apply(value)


def methods(params: RetinexParams, readings: list[str]) -> dict[str, Callable | None]:
    """Return the functions to time by name."""
    found: dict[str, Callable | None] = {}
    for reading in readings:
        same = {"reading": reading, "params": params}
        found[f"reference {reading}"] = partial(ahe_retinex_reference, **same)
        found[f"ahe_retinex {reading}"] = partial(ahe_retinex, **same)
        found[f"enhance_image {reading}"] = partial(enhance_image, **same)
    found[CLAHE] = clahe_on_value
    try:
        from skimage.exposure import equalize_adapthist
    except ImportError:
        equalize_adapthist = None
    found[SKIMAGE] = equalize_adapthist
    return found


def timed(function: Callable, image: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return the processor times of calls in seconds, and the last result."""
    taken, begin = [], time.perf_counter()
    while not taken or time.perf_counter() - begin < SECONDS_A_METHOD:
        start = time.thread_time()
        result = function(image)
        taken.append(time.thread_time() - start)
    return taken, result


def peak_bytes(function: Callable, image: np.ndarray) -> int:
    """Return the memory that one call needs at its peak, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        # What earlier calls have freed would be used again, and not be counted.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
        function(image)
        sender.send(resident("VmHWM") - before)

    process = context.Process(target=child)
    process.start()
    peak = receiver.recv()
    process.join()
    return peak


def benchmark_size(image: np.ndarray, found: dict[str, Callable | None]) -> list[dict]:
    """Time every method on one image."""
    rows, pixels = [], image.shape[0] * image.shape[1]
    textbook: dict[str, np.ndarray] = {}
    for name, function in found.items():
        kind, _, reading = name.partition(" ")
        if kind == "reference" and pixels > LARGEST_REFERENCE:
            continue
        row = {"method": name, "height": image.shape[0], "width": image.shape[1]}
        rows.append(row)
        if function is None:
            row["left_out"] = "not installed"
            continue
        taken, result = timed(function, image)
        middle = float(np.median(taken))
        row.update(
            ms=round(min(taken) * 1e3, 3),
            median_ms=round(middle * 1e3, 3),
            runs=len(taken),
            ns_per_pixel=round(middle * 1e9 / pixels, 2),
            peak_mib=round(peak_bytes(function, image) / 2**20, 1),
        )
        if kind == "reference":
            textbook[reading] = result
        elif kind == "ahe_retinex" and reading in textbook:
            off = np.abs(textbook[reading].astype(np.int16) - result)
            row["deviation_max"] = int(off.max())
            row["deviation_99.9"] = float(np.percentile(off.max(axis=2), 99.9))
    add_ratios(rows)
    for row in rows:
        print(describe(row), flush=True)
    return rows


def add_ratios(rows: list[dict]) -> None:
    """Add to the rows of one size how they compare with the textbook and CLAHE."""
    median = {row["method"]: row.get("median_ms") for row in rows}
    for row in rows:
        kind, _, reading = row["method"].partition(" ")
        slow = median.get(f"reference {reading}")
        if kind in ("ahe_retinex", "enhance_image"):
            row["times_clahe"] = round(row["median_ms"] / median[CLAHE], 1)
            if slow:
                row["times_faster"] = round(slow / row["median_ms"], 1)


def targets(rows: list[dict]) -> list[dict]:
    """Return each target with what was measured, and whether it was met."""
    found = []

    def judge(what: str, measured: float, met: bool) -> None:
        found.append({"target": what, "measured": round(measured, 1), "met": met})

    for row in rows:
        kind, _, reading = row["method"].partition(" ")
        if kind != "ahe_retinex":
            continue
        size = f"{row['width']} x {row['height']}"
        if "times_faster" in row and row["width"] >= 512:
            what = f"{reading}, {size}: {LEAST_TIMES_FASTER} times the textbook"
            ratio = row["times_faster"]
            judge(what, ratio, ratio >= LEAST_TIMES_FASTER)
        if row["width"] == 512:
            ratio = row["times_clahe"]
            what = f"{reading}, {size}: at most {MOST_TIMES_CLAHE} times CLAHE"
            judge(what, ratio, ratio <= MOST_TIMES_CLAHE)
    for reading in READINGS:
        name = f"enhance_image {reading}"
        costs = [row["ns_per_pixel"] for row in rows if row["method"] == name]
        if len(costs) > 1:
            ratio = max(costs) / min(costs)
            what = (
                f"{reading}: a pixel within {MOST_TIMES_A_PIXEL} times over all sizes"
            )
            judge(what, ratio, ratio <= MOST_TIMES_A_PIXEL)
    return found


def describe(row: dict) -> str:
    """Return one line for people."""
    line = f"{row['method']:34s}{row['width']:5d} x {row['height']:<5d}"
    line += row.get("left_out") or (
        f"{row['ms']:10.2f} ms, median{row['median_ms']:10.2f} "
        f"{row['ns_per_pixel']:8.1f} ns/px {row['peak_mib']:7.1f} MiB"
    )
    if "times_faster" in row:
        line += f"  {row['times_faster']:.0f}x"
    if "deviation_max" in row:
        line += f", off by at most {row['deviation_max']}"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--readings", nargs="+", choices=READINGS, default=list(READINGS)
    )
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--image", type=Path, help="use this picture, not a made one")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    picture = None
    if args.image is not None:
        picture = cv2.imread(str(args.image))
        if picture is None:
            parser.error(f"--image {args.image}: no such picture, or not readable")
        picture = picture[..., ::-1]
    found, rows = methods(RetinexParams.preset(args.preset), args.readings), []
    for name in args.sizes:
        image = (
            smear_like(*SIZES[name]) if picture is None else fill(picture, *SIZES[name])
        )
        rows += benchmark_size(image, found)
    judged = targets(rows)
    for one in judged:
        state = "met" if one["met"] else "MISSED"
        print(f"{state:7s}{one['target']}: {one['measured']}")
    if args.json is not None:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "preset": args.preset,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "machine": platform.processor() or platform.machine(),
        }
        args.json.write_text(
            json.dumps({"about": about, "targets": judged, "rows": rows}, indent=1)
            + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
