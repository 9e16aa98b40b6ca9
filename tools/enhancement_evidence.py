"""Measure what AHE-Retinex does to the colours of smears, and write the page of it.

    python tools/enhancement_evidence.py --nuclei segmentation_wbc --probe

writes docs/enhancement.md with a picture of synthetic cells, results/enhancement.json
with every figure, and to --out the picture of real cells. With --reuse the figures of
that file are taken, and only what it lacks is measured: to go on after an interruption,
and to put runs on the development split that were published since into the page.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2

from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.files import write_text
from leuko_mm.report.contact_sheet import contact_sheet, write_sheet
from leuko_mm.report.enhancement_page import enhancement_page, kept_verdict
from leuko_mm.workflows.enhancement_evidence import colour_evidence
from leuko_mm.workflows.enhancement_evidence_methods import (
    CLAHE,
    RAW,
    most_usual,
    other_methods,
    retinex_methods,
)
from leuko_mm.workflows.preflight import draw_synthetic

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (RAW, CLAHE, "grey world", "Reinhard", "hsv", "hsv_all", "rgb")
PROBED = (RAW, CLAHE, "grey world", "Reinhard", "hsv", "hsv_all", "rgb")
RUNS = "half/cbam_unet*-development-s0.json"
VARIANTS = (None, "raw", "hsv", "hsv_all", "rgb", "clahe")
PICTURE = "images/enhancement.jpg"
FIGURES = "results/enhancement.json"


def measure(args: argparse.Namespace, found: dict, save: Callable) -> None:
    """Add to the figures what is asked for and not among them, saving each at once."""
    root = dataset_root(args.data)
    sources = {"colour": root}
    if args.nuclei:
        sources["nuclei"] = dataset_root(args.nuclei)
    for key, source in sources.items():
        known = found.get(key, {}).get("methods", {})
        methods = methods_for(source)
        lacking = {name: m for name, m in methods.items() if name not in known}
        if lacking:
            found[key] = colour_evidence(source, lacking, progress=show)
            measured = {**known, **found[key]["methods"]}
            # In the order of the methods, whenever each was measured.
            order = sorted(measured, key=list({**methods, **measured}).index)
            found[key]["methods"] = {name: measured[name] for name in order}
            save(found)
    if args.probe:
        from leuko_mm.workflows.enhancement_evidence_probe import probe

        probed = found.setdefault("probe", {})
        methods = methods_for(root)
        for name in (name for name in PROBED if name in methods and name not in probed):
            probed[name] = probe(root, methods[name])
            print(f"probe {name}: {probed[name]['accuracy']}", flush=True)
            save(found)


def methods_for(root: Path) -> dict:
    """Return every method, stain normalisation fitted to the dataset's usual image."""
    rows = [row for row in read_index(root) if row.kind == "cell"]
    images = [read_image(root / row.image) for row in rows]
    return {**other_methods(images[most_usual(images)]), **retinex_methods()}


def about() -> dict:
    """Return what was run, when, and with which libraries."""
    versions = {}
    for name in ("numpy", "opencv-python", "torchstain"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    words = [a for a in sys.argv[1:] if a != "--reuse"]
    for flag in ("--root", "--out"):  # where it is written is no matter
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    command = shlex.join(["python", "tools/enhancement_evidence.py", *words])
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return dict(command=command, date=date, libraries=versions)


def without_nan(value):
    """Return the same with None for what is no finite number: JSON has none."""
    if isinstance(value, dict):
        return {key: without_nan(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show(done: int, total: int) -> None:
    """Print a line now and then."""
    if done % 20 == 0:
        print(f"{done} of {total} images", flush=True)


def sheet(name: str, out: Path) -> None:
    """Write one cell of each class, each from a slide of its own, by every method."""
    root = dataset_root(name)
    rows = [row for row in read_index(root) if row.kind == "cell"]
    chosen = []
    for i, kind in enumerate(sorted({row.class_name for row in rows})):
        of_class = [row for row in rows if row.class_name == kind]
        groups = sorted({row.group for row in of_class})
        chosen.append(next(r for r in of_class if r.group == groups[i % len(groups)]))
    methods = {n: m for n, m in methods_for(root).items() if n in SHOWN}
    images = [read_image(root / row.image) for row in chosen]
    pictures = [method(image) for image in images for method in methods.values()]
    captions = [
        f"{row.class_name}, {method}" if method == RAW else method
        for row in chosen
        for method in methods
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    page = contact_sheet(pictures, captions, columns=len(methods), tile=150)
    write_sheet(out, page)


def published_runs(results: Path) -> list[dict]:
    """Return the trainings on the development split, in the order of VARIANTS.

    Of several lengths of training, the one that most variants were trained for.
    """
    found = []
    for path in sorted(results.glob(RUNS)):
        run = json.loads(path.read_text(encoding="utf-8"))
        iterations = run["run"]["iterations"]
        # ``--iterations`` appends the number to the name.
        words = (run["run"]["variant"] or "").split("-")
        variant = "-".join(w for w in words if w != f"i{iterations}") or None
        if run["run"]["method"] == "cbam_unet" and variant in VARIANTS:
            found.append(
                dict(
                    variant=variant,
                    enhance=run["data"]["enhance"],
                    iterations=iterations,
                    metrics=run["metrics"],
                )
            )
    lengths = Counter(run["iterations"] for run in found)
    chosen = max(lengths, key=lambda length: (lengths[length], length), default=None)
    same = [run for run in found if run["iterations"] == chosen]
    return sorted(same, key=lambda run: VARIANTS.index(run["variant"]))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--data", default="bcisc", help="prepared dataset with slides")
    made.add_argument("--nuclei", help="prepared dataset with nuclei")
    made.add_argument("--synthetic", default="synthetic", help="for the page's picture")
    made.add_argument("--probe", action="store_true", help="linear probe too (slow)")
    made.add_argument("--reuse", action="store_true", help=f"add to {FIGURES}")
    made.add_argument("--root", type=Path, default=ROOT, help="where docs/ is written")
    made.add_argument("--out", type=Path, default=Path("work_dirs/enhancement"))
    return made


def main(argv: list[str] | None = None) -> int:
    """Measure, and write page, pictures and figures."""
    args = parser().parse_args(argv)
    cv2.setNumThreads(1)
    figures = args.root / FIGURES
    figures.parent.mkdir(parents=True, exist_ok=True)

    def save(found: dict) -> None:
        write_text(figures, json.dumps(without_nan(found), indent=1) + "\n")

    try:
        draw_synthetic(args.synthetic)
        # What is missing is told before minutes of measuring.
        for name in filter(None, (args.data, args.nuclei, args.synthetic)):
            read_index(dataset_root(name))
        found = {"about": about()}
        if args.reuse:
            found = json.loads(figures.read_text(encoding="utf-8"))
        measure(args, found, save)
        found = without_nan(found)
        sheet(args.data, args.out / "cells.jpg")
        sheet(args.synthetic, args.root / "docs" / PICTURE)
    except (DatasetError, FileNotFoundError) as error:
        print(f"tools/enhancement_evidence.py: {error}", file=sys.stderr)
        return 2
    page = args.root / "docs" / "enhancement.md"
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    text = enhancement_page(
        found,
        published_runs(args.root / "results"),
        picture=PICTURE,
        json_name=FIGURES,
        verdict=kept_verdict(before),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, text)
    print(f"{page} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
