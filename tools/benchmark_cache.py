"""Time how fast a training gets its first cells: without a cache, filling it, from it.

    python tools/benchmark_cache.py bcisc

Every cell of the dataset is loaded, enhanced by AHE-Retinex and resized to a tile once,
as each worker does in the first epoch. Processor time of one thread, the median of
several rounds, since other work on the machine counts little in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2

from leuko_mm.datasets.leukocyte_dataset import LeukocyteDataset, build_pipeline
from leuko_mm.datasets.preprocessing_cache import PreprocessingCache
from leuko_mm.datasets.tile_store import TileStore

STEPS = ("LoadImageFromFile", "LoadAnnotations", "leuko_mm.AHERetinex")


def seconds(dataset, setting: str, tile: int) -> float:
    os.environ["LEUKO_MM_CACHE"] = setting
    pipeline = build_pipeline([dict(type=kind) for kind in STEPS])
    store = TileStore(dataset, pipeline)
    started = time.process_time()
    for cell in range(len(dataset)):
        store.tile(cell, tile, tile)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a prepared dataset")
    parser.add_argument("--tile", type=int, default=128, help="side in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    dataset = LeukocyteDataset(given.data, test_mode=True)
    times: dict[str, list[float]] = {"without": [], "filling": [], "from it": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            times["without"].append(seconds(dataset, "off", given.tile))
            times["filling"].append(seconds(dataset, folder, given.tile))
            times["from it"].append(seconds(dataset, folder, given.tile))
            size = sum(s.st_size for _, s in PreprocessingCache(Path(folder)).entries())
    print(f"{len(dataset)} cells, {size / 2**20:.0f} MiB of cache")
    for name, taken in times.items():
        median = statistics.median(taken)
        each = 1000 * median / len(dataset)
        print(f"{name:8} {median:6.2f} s, {each:5.2f} ms a cell")


if __name__ == "__main__":
    main()
