"""Measure how long each method takes for an image: results/timing.json.

    python tools/method_timing.py --out results/timing.json

The time is that of the processor, on one thread, so that other work on the machine
changes it little; the networks have random weights. `leuko compare --report` draws
accuracy against it. Only ratios within one file mean anything.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from leuko_mm.files import write_text
from leuko_mm.workflows.compare_matrix import method_names
from leuko_mm.workflows.model_size import build_bare
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.run_facts import cpu_name

SIZE, REPEATS = 256, 5


def milliseconds(name: str, *, size: int, repeats: int) -> float:
    """Return the median of the processor's milliseconds for one image.

    Args:
        name: a method's config.
        size: side of the image, in pixels.
        repeats: how many, after one that does not count.
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every method and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/timing.json"))
    parser.add_argument("--methods", nargs="+", help="default: all")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    methods = {}
    for name in given.methods or method_names():
        methods[name] = milliseconds(name, size=given.size, repeats=given.repeats)
        print(f"{name}: {methods[name]} ms", flush=True)
    about = dict(
        methods=methods,
        size=given.size,
        repeats=given.repeats,
        threads=1,
        clock="processor time",
        machine=cpu_name(),
        torch=torch.__version__,
    )
    write_text(given.out, json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
