"""Train by mmengine's plain loop and as this package does; compare the networks.

    python tools/paper/plain_loop.py --json results/plain_loop.json

Each seed is trained twice, with and without `leuko train --plain`, from the same
weights, on the same images in the same order, and tested on slides of the synthetic
smears that neither saw. Runs that are finished are taken as they are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from leuko_mm.files import write_text
from leuko_mm.report.html import number, table
from leuko_mm.training.results import as_typed, environment

LOOPS = {"leuko": [], "plain": ["--plain"]}


def run(work_dir: Path, command: Sequence[str]) -> dict:
    """Train, unless that is done, and return what the results file says."""
    found = work_dir / "results.json"
    if not found.exists():
        again = [] if not work_dir.exists() else ["--resume"]
        subprocess.run(
            [sys.executable, "-m", "leuko_mm.cli.main", *command[1:], *again],
            check=True,
        )
    results = json.loads(found.read_text(encoding="utf-8"))
    return dict(
        command=results["run"]["command"],
        iterations=results["run"]["iterations"],
        amp=results["run"]["amp"],
        wall_s=results["run"]["wall_s"],
        mIoU=results["metrics"]["mIoU"],
        pixel_accuracy=results["metrics"]["pixel_accuracy"],
        git=results["run"]["git"],
    )


def compared(runs: Sequence[Mapping]) -> dict:
    """Return the means of both loops, and how far they are apart.

    Args:
        runs: each with its ``loop`` and its metrics, the seeds alike for both.

    Example:
        >>> ours = dict(loop="leuko", mIoU=90.0, pixel_accuracy=99.0, wall_s=10.0)
        >>> plain = dict(loop="plain", mIoU=89.5, pixel_accuracy=99.0, wall_s=25.0)
        >>> compared([ours, plain])["difference_mIoU"]
        0.5
    """
    means = {
        loop: {
            key: statistics.fmean(r[key] for r in runs if r["loop"] == loop)
            for key in ("mIoU", "pixel_accuracy", "wall_s")
        }
        for loop in LOOPS
    }
    return dict(
        means=means, difference_mIoU=means["leuko"]["mIoU"] - means["plain"]["mIoU"]
    )


def page(found: Mapping) -> str:
    """Return the mean of every loop, with the mIoU of its seeds, as a table."""
    rows = []
    for loop, mean in found["means"].items():
        seeds = [run["mIoU"] for run in found["runs"] if run["loop"] == loop]
        rows.append(
            [
                loop,
                ", ".join(number(value, 2) for value in seeds),
                number(mean["mIoU"], 2),
                number(mean["pixel_accuracy"], 2),
                f"{mean['wall_s']:.0f}",
            ]
        )
    header = ["loop", "mIoU by seed", "mean mIoU", "pixel accuracy", "seconds"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="cbam_unet_compact")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work-dirs", type=Path, default=Path("work_dirs/plain_loop"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    runs = []
    for seed in range(args.seeds):
        for loop, options in LOOPS.items():
            # Named so that another length or network is never taken for this one.
            name = f"{Path(args.config).stem}-i{args.iterations}-{loop}-s{seed}"
            work_dir = args.work_dirs / name
            command = ["leuko", "train", args.config, "--protocol", "half"]
            command += ["--data", "synthetic", "--split", "fold5"]
            command += ["--iterations", str(args.iterations), "--seed", str(seed)]
            command += ["--work-dir", str(work_dir), *options]
            runs.append(dict(loop=loop, seed=seed, **run(work_dir, command)))
            print(json.dumps(runs[-1]), flush=True)
    found = dict(
        command=as_typed(["tools/paper/plain_loop.py", *sys.argv[1:]]),
        env=environment(),
        runs=runs,
        **compared(runs),
    )
    print(page(found))
    print(f"mIoU of leuko minus plain: {found['difference_mIoU']:+.2f}")
    if args.json:
        write_text(args.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
