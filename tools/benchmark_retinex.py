"""Time AHE-Retinex against its textbook form and against plain CLAHE.

    python tools/benchmark_retinex.py --json benchmark.json

One thread. Times are processor time of the best run, so that other work on the
machine counts as little as possible. Peak memory is what a process of its own
needs beyond the input image. The deviation is the largest and the 99.9th percentile
of the difference from the textbook's uint8 output. scikit-image is timed if it is
installed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.transforms import (
    READINGS,
    RetinexParams,
    ahe_retinex,
    enhance_image,
)
from leuko_mm.transforms.retinex_params import PRESETS
from leuko_mm.transforms.retinex_reference import ahe_retinex_reference

SIZES = {
    "256": (256, 256),
    "512": (512, 512),
    "2048": (1536, 2048),
    "8192": (8192, 8192),
}
LARGEST_REFERENCE = 2048 * 1536
SECONDS_A_METHOD = 3.0


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


def methods(params: RetinexParams, readings: list[str]) -> dict[str, Callable]:
    """Return the functions to time by name."""
    found: dict[str, Callable] = {}
    for reading in readings:
        found[f"reference {reading}"] = lambda image, r=reading: ahe_retinex_reference(
            image, reading=r, params=params
        )
        found[f"ahe_retinex {reading}"] = lambda image, r=reading: ahe_retinex(
            image, reading=r, params=params
        )
        found[f"enhance_image {reading}"] = lambda image, r=reading: enhance_image(
            image, reading=r, params=params
        )
    found["CLAHE on V"] = clahe_on_value
    try:
        from skimage.exposure import equalize_adapthist
    except ImportError:
        print("scikit-image is not installed: its equalisation is left out")
    else:
        found["scikit-image equalize_adapthist"] = equalize_adapthist
    return found


def timed(function: Callable, image: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the least processor time of one call in seconds, and its result."""
    best, begin = float("inf"), time.perf_counter()
    while True:
        start = time.thread_time()
        result = function(image)
        best = min(best, time.thread_time() - start)
        if time.perf_counter() - begin > SECONDS_A_METHOD:
            return best, result


def peak_bytes(function: Callable, image: np.ndarray) -> int:
    """Return the memory that one call needs at its peak, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        function(image)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sender.send((after - before) * 1024)

    process = context.Process(target=child)
    process.start()
    peak = receiver.recv()
    process.join()
    return peak


def benchmark_size(image: np.ndarray, found: dict[str, Callable]) -> list[dict]:
    """Time every method on one image."""
    rows, pixels = [], image.shape[0] * image.shape[1]
    expected = {}
    for name, function in found.items():
        kind, _, reading = name.partition(" ")
        if kind == "reference" and pixels > LARGEST_REFERENCE:
            continue
        seconds, result = timed(function, image)
        row = {
            "method": name,
            "height": image.shape[0],
            "width": image.shape[1],
            "ms": round(seconds * 1e3, 3),
            "ns_per_pixel": round(seconds * 1e9 / pixels, 2),
            "peak_mib": round(peak_bytes(function, image) / 2**20, 1),
        }
        if kind == "reference":
            expected[reading] = (result, seconds)
        elif kind == "ahe_retinex" and reading in expected:
            textbook, textbook_seconds = expected[reading]
            off = np.abs(textbook.astype(np.int16) - result)
            row["deviation_max"] = int(off.max())
            row["deviation_99.9"] = float(np.percentile(off.max(axis=2), 99.9))
            row["times_faster"] = round(textbook_seconds / seconds, 1)
        rows.append(row)
        print(describe(row), flush=True)
    return rows


def describe(row: dict) -> str:
    """Return one line for people."""
    line = (
        f"{row['method']:32s} {row['height']:5d} x {row['width']:<5d}"
        f"{row['ms']:11.2f} ms {row['ns_per_pixel']:9.1f} ns/px"
        f"{row['peak_mib']:9.1f} MiB"
    )
    if "times_faster" in row:
        line += f"  {row['times_faster']:.0f}x, off by at most {row['deviation_max']}"
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
    if args.json is not None:
        about = {
            "command": " ".join(["python", *sys.argv]),
            "preset": args.preset,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "machine": platform.processor() or platform.machine(),
        }
        args.json.write_text(
            json.dumps({"about": about, "rows": rows}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
