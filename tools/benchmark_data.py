"""Time what feeds a training: mosaics, the loader beside a step, and the converter.

    python tools/benchmark_data.py --source BCISC --json benchmark.json

Mosaics are of 512 x 512 pixels, their tiles in memory, without augmentation; the time
is that of the processor, best and median. The loader is the one of a config under a
protocol, beside steps that keep torch's threads busy for as long as a training step
would: what counts is the share of the time that these steps wait for their batch. The
processor time of a batch stands above it: it tells the same on a machine that has
other work, where the clock says little.
Preparing BCISC is timed into a folder that is thrown away, by the clock and by the
processor. A busy machine makes the clock's figures worse, hardly the processor's.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from leuko_mm.datasets.converters.bcisc import prepare_bcisc
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.workflows.preflight import draw_synthetic
from leuko_mm.workflows.resolve_config import resolve_config

# What is to be kept; a figure above is marked.
BOUNDS = {"mosaic 2x2 grid": 2.0, "waiting": 5.0, "prepare bcisc": 20.0}
LOADING = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
LAYOUTS = ((2, "grid"), (3, "grid"), (4, "grid"), (2, "scattered"))


def row(what: str, value: float, unit: str, detail: str) -> dict:
    """Return one line of the table, with the bound that holds for it, if any."""
    bound = BOUNDS.get(what)
    return dict(what=what, value=round(value, 3), unit=unit, bound=bound, detail=detail)


def time_mosaics(data: str, calls: int) -> list[dict]:
    """Time composing from tiles that are in memory already."""
    rows = []
    for n, layout in LAYOUTS:
        dataset = MosaicDataset(
            dict(name=data),
            n=n,
            size=512,
            mode="resample",
            mosaics=1,
            layout=layout,
            tile_pipeline=LOADING,
        )
        indices = range(calls if layout == "grid" else max(3, calls // 20))
        for index in indices:
            dataset.compose(index)
        seconds = [processor_seconds(partial(dataset.compose, i)) for i in indices]
        detail = f"best {min(seconds) * 1e3:.3f} ms of {len(seconds)} mosaics"
        median = statistics.median(seconds) * 1e3
        rows.append(row(f"mosaic {n}x{n} {layout}", median, "ms", detail))
    return rows


def processor_seconds(function: Callable) -> float:
    """Return the processor time of one call in this thread."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


def time_waiting(
    config: str, protocol: str, data: str, *, step_s: float, steps: int
) -> list[dict]:
    """Measure how long steps wait for a loader that works while they compute."""
    resolved = resolve_config(config, protocol=protocol, data=data, split="fold1")
    with DefaultScope.overwrite_default_scope("mmseg"):
        loader = Runner.build_dataloader(resolved.train_dataloader, seed=0)
    size, dataset = loader.batch_size, loader.dataset
    mosaics = range(10 * size)
    for index in mosaics:
        dataset[index]  # so that what is drawn next is in memory
    made = [processor_seconds(partial(dataset.__getitem__, i)) for i in mosaics]
    # Less than a step, and a worker that has a core to itself is never waited for.
    batch = row(
        "a batch",
        statistics.mean(made) * size * 1e3,
        "ms",
        f"of {size}, processor time of one worker, augmented",
    )
    batches, busy = iter(loader), torch.rand(256, 256)
    waits = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - start)
        while time.perf_counter() - start - waits[-1] < step_s:
            busy @ busy
    share = 100 * sum(waits[1:]) / (sum(waits[1:]) + steps * step_s)
    detail = (
        f"of {steps} steps of {step_s} s, {config} --protocol {protocol}, "
        f"{loader.num_workers} worker(s); the first batch took {waits[0]:.2f} s"
    )
    return [batch, row("waiting", share, "%", detail)]


def time_prepare(source: Path | None) -> list[dict]:
    """Time the converter of BCISC."""
    if source is None:
        print("without --source PATH_TO_BCISC, preparing it is left out")
        return []
    with tempfile.TemporaryDirectory() as folder:
        start, processor = time.perf_counter(), time.process_time()
        prepare_bcisc(source, Path(folder) / "bcisc")
        wall = time.perf_counter() - start
    detail = f"of which the processor worked {time.process_time() - processor:.1f} s"
    return [row("prepare bcisc", wall, "s", detail)]


def table(rows: list[dict]) -> str:
    """Return the figures in aligned columns.

    Example:
        >>> print(table([row("waiting", 1.5, "%", "of 10 steps")]))
        waiting                  1.500 %   below 5     of 10 steps
    """
    lines = []
    for found in rows:
        bound = found["bound"]
        kept = bound is None or found["value"] < bound
        sign = "" if bound is None else f"{'below' if kept else 'ABOVE'} {bound:g}"
        lines.append(
            f"{found['what']:<22}{found['value']:>8.3f} {found['unit']:<3} {sign:<11}"
            f" {found['detail']}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="bcisc", help="prepared dataset (bcisc)")
    parser.add_argument("--config", default="cbam_unet", help="of the loader")
    parser.add_argument("--protocol", default="half", help="of the loader")
    parser.add_argument("--source", type=Path, help="BCISC as published")
    parser.add_argument("--mosaics", type=int, default=200, help="composed a layout")
    parser.add_argument("--steps", type=int, default=60, help="beside the loader")
    parser.add_argument("--step", type=float, default=0.4, help="seconds a step (0.4)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        with redirect_stdout(io.StringIO()):
            draw_synthetic(args.data)
        rows = [
            *time_mosaics(args.data, args.mosaics),
            *time_waiting(
                args.config,
                args.protocol,
                args.data,
                step_s=args.step,
                steps=args.steps,
            ),
            *time_prepare(args.source),
        ]
    except (DatasetError, UsageError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    if args.json is not None:
        about = dict(
            command=" ".join(["python", *sys.argv]),
            opencv=cv2.__version__,
            numpy=np.__version__,
            torch=torch.__version__,
            threads=torch.get_num_threads(),
            machine=platform.processor() or platform.machine(),
        )
        text = json.dumps(dict(about=about, rows=rows), indent=1)
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
