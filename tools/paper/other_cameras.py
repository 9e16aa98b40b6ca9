"""Test a checkpoint on images as other cameras would have taken them.

    python tools/paper/other_cameras.py cbam_unet_compact work_dirs/<run>/<run>.pth \
        --split development

Blur, sharpening, noise and JPEG change the test images, one at a time, before the
network sees them; the truth stays. docs/models.md has the numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.engine.checkpoints import UnsafeCheckpointError
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.cell_scores import statistic
from leuko_mm.evaluation.metric import CELLS_FILE, load_cells
from leuko_mm.files import sha256_of_file, write_text
from leuko_mm.report.html import number, table
from leuko_mm.training.config import resolve_config
from leuko_mm.training.results import as_typed, environment, git_state
from leuko_mm.training.run import TestRequest, run_test

# In pixels and grey levels of the images that the network sees.
CAMERAS = {
    "as taken": {},
    "blur of 1 pixel": dict(blur=1.0),
    "blur of 2 pixels": dict(blur=2.0),
    "blur of 3 pixels": dict(blur=3.0),
    "sharpened": dict(sharpen=1.0, radius=1.5),
    "sharpened twice as much": dict(sharpen=2.0, radius=1.5),
    "sharpened, radius of 3 pixels": dict(sharpen=2.0, radius=3.0),
    "noise of 5 grey levels": dict(noise=5.0),
    "noise of 10": dict(noise=10.0),
    "noise of 20": dict(noise=20.0),
    "JPEG of quality 50": dict(quality=50),
    "JPEG of quality 25": dict(quality=25),
}
METRICS = ("mIoU", "pixel_accuracy", "right_class")
PIPELINE = "test_dataloader.dataset.pipeline"


def usual_steps(config: str, **wish: str | None) -> list[dict]:
    """Return the transforms of a config's test images."""
    dataset = resolve_config(config, **wish).test_dataloader.dataset
    return dataset.to_dict()["pipeline"]


def requests(
    args: argparse.Namespace, steps: Sequence[dict], folder: Path
) -> dict[str, TestRequest]:
    """Return a test for every camera, each with a folder of its own."""
    found = {}
    for place, (name, change) in enumerate(CAMERAS.items()):
        before = [dict(type="leuko_mm.OtherCamera", **change)] if change else []
        found[name] = TestRequest(
            args.config,
            args.checkpoint,
            protocol=args.protocol,
            split=args.split,
            data=args.data,
            options={PIPELINE: [*before, *steps]},
            work_dir=str(folder / str(place)),
        )
    return found


def metrics_of(folder: Path) -> dict[str, float]:
    """Return the metrics of a finished test."""
    cells = load_cells(folder / CELLS_FILE).confusion
    metrics = {name: statistic(name) for name in METRICS}
    return {n: float(f.value(f.parts(cells).sum(0))) for n, f in metrics.items()}


def as_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return the metrics of all cameras as a Markdown table."""
    heads = ["camera", "mIoU", "pixel accuracy", "cells of the right class"]
    rows = [[name, *(number(row[f]) for f in METRICS)] for name, row in results.items()]
    return table(heads, rows)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("--split", help="default: the config's")
    parser.add_argument("--data", help="prepared dataset; default: the config's")
    parser.add_argument("--protocol")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    wish = dict(split=args.split, data=args.data, protocol=args.protocol)
    command = as_typed(["tools/paper/other_cameras.py", *words])
    results = {}
    try:
        steps = usual_steps(args.config, **wish)
        with TemporaryDirectory() as folder:
            for name, request in requests(args, steps, Path(folder)).items():
                results[name] = metrics_of(run_test(request))
    except (DatasetError, UnsafeCheckpointError, UsageError) as error:
        print(f"other_cameras: {error}", file=sys.stderr)
        return 2
    mean = {f: statistics.fmean(row[f] for row in results.values()) for f in METRICS}
    print(as_table({**results, "mean": mean}))
    if args.json:
        about = dict(command=command, split=args.split, cameras=results, mean=mean)
        about |= dict(checkpoint=sha256_of_file(Path(args.checkpoint)))
        about |= dict(git=git_state(), env=environment())
        write_text(args.json, json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
