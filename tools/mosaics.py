"""Write mosaics of a dataset as images and masks, with an index of every tile's cell.

    python tools/mosaics.py bcisc --split fold1 --part test --out mosaics

For programs that do not read a dataset of this project. ``leuko browse`` shows the
mosaics of a config; ``MosaicDataset`` composes them while training.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.cli.main import WRONG_USE, at_least, exit_code_of
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.mosaic import LAYOUTS, MOSAIC_SPLIT, MosaicDataset
from leuko_mm.datasets.prepared import PARTS, dataset_root, is_binary, read_about
from leuko_mm.datasets.prepared_writing import save_mask
from leuko_mm.errors import UsageError
from leuko_mm.files import write_table
from leuko_mm.training.config import EVERY_CELL
from leuko_mm.transforms import READINGS

COLUMNS = (
    *("mosaic", "image", "mask", "place"),
    *("stem", "class", "group", "x0", "y0", "x1", "y1"),
)
# The split of this name is one of 50 mosaics of 2 x 2, composed first and then split.
PAPER_MOSAICS = 50


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number = dict(type=at_least(1))
    made.add_argument("name", help="prepared dataset: a name or a path")
    made.add_argument("--out", type=Path, required=True, help="new or empty folder")
    made.add_argument("--split", default=EVERY_CELL, help="default: every cell")
    made.add_argument("--part", choices=PARTS, default="train", help="default: train")
    made.add_argument("--n", **number, default=2, help="tiles along a side (2)")
    made.add_argument("--size", **number, default=512, help="side in pixels (512)")
    made.add_argument("--mosaics", **number, help="default: every cell once")
    made.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    made.add_argument(
        "--class-balanced", action="store_true", help="every class equally often"
    )
    made.add_argument("--layout", choices=LAYOUTS, default="grid")
    made.add_argument("--enhance", choices=READINGS, help="AHE-Retinex on each tile")
    return made


def mosaic_dataset(args: argparse.Namespace) -> MosaicDataset:
    """Return the dataset that composes the mosaics.

    Raises:
        DatasetError: if the dataset or the split is missing.
        UsageError: if the mosaics cannot be composed like that.
    """
    options = dict(mode="fixed" if args.mosaics else "every", mosaics=args.mosaics)
    if args.split == MOSAIC_SPLIT:
        if args.n != 2 or args.mosaics not in (None, PAPER_MOSAICS):
            raise UsageError(
                f"{MOSAIC_SPLIT} divides {PAPER_MOSAICS} mosaics of 2x2; got "
                f"{args.mosaics} of {args.n}x{args.n}; leave out --mosaics and --n"
            )
        options = dict(mode="fixed", mosaics=PAPER_MOSAICS, split_stage="mosaics")
    if args.enhance:
        options["enhance"] = dict(type="leuko_mm.AHERetinex", reading=args.enhance)
    root = dataset_root(args.name)
    split = None if args.split == EVERY_CELL else args.split
    quick_check(root, split=split)
    return MosaicDataset(
        dict(name=args.name, split=split, part=args.part, binary=is_binary(root)),
        n=args.n,
        size=args.size,
        seed=args.seed,
        class_balanced=args.class_balanced,
        layout=args.layout,
        tile_pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        **options,
    )


def write_images(folder: Path, dataset: MosaicDataset) -> Iterator[tuple]:
    """Write images and masks, and yield the rows of the index."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index in range(len(dataset)):
        sample = dataset.compose(index)
        name = f"mosaic_{index + 1:04d}"
        image, mask = f"images/{name}.png", f"masks/{name}.png"
        rgb = np.ascontiguousarray(sample["img"][..., ::-1])
        Image.fromarray(rgb).save(folder / image, compress_level=1)
        save_mask(folder / mask, sample["gt_seg_map"])
        tiles = [
            (t["box"], t["stem"], t["class_name"], t["group"]) for t in sample["tiles"]
        ]
        # A spare tile has a box and no cell.
        tiles += [(box, "", "", "") for box in sample["spare_tiles"]]
        for place, (box, *cell) in enumerate(tiles, 1):
            yield (name, image, mask, place, *cell, *box)


def main(argv: list[str] | None = None) -> int:
    """Write the mosaics and return the exit code."""
    args = parser().parse_args(argv)
    try:
        if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
            raise UsageError(f"{args.out} is not an empty folder; choose another --out")
        dataset = mosaic_dataset(args)
        rows = list(write_images(args.out, dataset))
    except Exception as error:
        # A ValueError of MosaicDataset says which option does not fit.
        if exit_code_of(error) is None and not isinstance(error, (ValueError, OSError)):
            raise
        print(f"tools/mosaics.py: {error}", file=sys.stderr)
        return WRONG_USE
    write_table(args.out / "index.csv", COLUMNS, rows)
    keys = ("name", "source", "licence", "citation", "sha256", "classes")
    about = {key: read_about(dataset_root(args.name)).get(key) for key in keys}
    about.update({k: v for k, v in vars(args).items() if k not in ("name", "out")})
    about["mosaics"] = len(dataset)
    (args.out / "mosaics.json").write_text(json.dumps(about, indent=2) + "\n")
    cells = len({row[COLUMNS.index("stem")] for row in rows} - {""})
    print(f"{args.out}: {len(dataset)} mosaics of {cells} cells, see index.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
