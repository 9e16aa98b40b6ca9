"""Write mosaics of a dataset as files, with an index that names every cell."""

from __future__ import annotations

import filecmp
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte_dataset import dataset_root, is_binary
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.datasets.mosaic_options import MOSAIC_SPLIT
from leuko_mm.datasets.prepared import DatasetError, read_about
from leuko_mm.datasets.prepared_writing import save_mask
from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder, restore_folder, write_table
from leuko_mm.workflows.resolve_config import EVERY_CELL

SCHEMA = 1
ABOUT = "mosaics.json"
COLUMNS = (
    *("mosaic", "image", "mask", "place"),
    *("stem", "class", "group", "x0", "y0", "x1", "y1"),
)
# The split of this name is one of 50 mosaics of 2 x 2, composed first and then dealt.
PAPER_MOSAICS, PAPER_N = 50, 2


@dataclass(frozen=True)
class MosaicsRequest:
    """What ``leuko mosaics`` was asked for.

    Args:
        name: dataset, by its name or path.
        out: folder to write.
        split: name of a split, or ``all`` for every cell.
        part: ``train`` or ``test``.
        n: tiles along a side.
        size: side of a mosaic in pixels.
        mosaics: how many; None shows every cell exactly once.
        seed: of the composition.
        class_balanced: draw every class equally often.
        layout: ``grid`` or ``scattered``.
        enhance: reading of AHE-Retinex for each tile; None leaves them as they are.
        force: replace mosaics that differ.
    """

    name: str
    out: Path
    split: str = EVERY_CELL
    part: str = "train"
    n: int = 2
    size: int = 512
    mosaics: int | None = None
    seed: int = 0
    class_balanced: bool = False
    layout: str = "grid"
    enhance: str | None = None
    force: bool = False


@dataclass(frozen=True)
class MosaicsOutcome:
    """What stands in the folder, and whether it was written just now."""

    mosaics: int
    cells: int
    tiles: int
    spare: int
    written: bool


def write_mosaics(request: MosaicsRequest) -> MosaicsOutcome:
    """Compose mosaics and write them, all of them or nothing.

    The same request on the same data writes the same bytes.

    Raises:
        DatasetError: if the dataset or the split is missing or broken.
        UsageError: if the mosaics cannot be composed like that, or the folder holds
            something else.
    """
    root = dataset_root(request.name)
    place = Path(request.out).resolve()
    _refuse_foreign(request.out, place)
    quick_check(root, split=None if request.split == EVERY_CELL else request.split)
    dataset = _dataset(request)
    building = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(place)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        rows = list(_write_all(building, dataset))
        write_table(building / "index.csv", COLUMNS, rows)
        _write_about(building, root, request, len(dataset))
        written = not _same(place, building)
        if written and not request.force and place.exists() and any(place.iterdir()):
            raise UsageError(
                f"{request.out} holds other mosaics; add --force to replace them, or "
                "choose another --out"
            )
        if written:
            replace_folder(place, building)
    except OSError as error:
        raise DatasetError(
            f"{request.out} was not written ({error}), and what stood there is as it "
            "was; mend the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    stems = [row[COLUMNS.index("stem")] for row in rows]
    cells = len(set(filter(None, stems)))
    return MosaicsOutcome(len(dataset), cells, len(stems), stems.count(""), written)


def _refuse_foreign(out: Path, place: Path) -> None:
    """Refuse to replace what is not a folder of mosaics, whatever was asked for."""
    if not place.exists():
        return
    if not place.is_dir() or (any(place.iterdir()) and not (place / ABOUT).is_file()):
        raise UsageError(
            f"{out} exists and holds no mosaics of leuko_mm, so it is not replaced; "
            "choose another --out"
        )


def _dataset(request: MosaicsRequest) -> MosaicDataset:
    split = None if request.split == EVERY_CELL else request.split
    options = dict(mode="fixed" if request.mosaics else "every")
    options["mosaics"] = request.mosaics
    if split == MOSAIC_SPLIT:
        if request.n != PAPER_N or request.mosaics not in (None, PAPER_MOSAICS):
            raise UsageError(
                f"{MOSAIC_SPLIT} divides {PAPER_MOSAICS} mosaics of {PAPER_N}x{PAPER_N}"
                f"; got {request.mosaics} of {request.n}x{request.n}; leave out "
                "--mosaics and --n, or take another split"
            )
        options = dict(mode="fixed", mosaics=PAPER_MOSAICS, split_stage="mosaics")
    if request.enhance:
        options["enhance"] = dict(type="leuko_mm.AHERetinex", reading=request.enhance)
    cells = dict(name=request.name, split=split, part=request.part)
    cells["binary"] = is_binary(dataset_root(request.name))
    try:
        return MosaicDataset(
            cells,
            n=request.n,
            size=request.size,
            seed=request.seed,
            class_balanced=request.class_balanced,
            layout=request.layout,
            tile_pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="LoadAnnotations"),
            ],
            **options,
        )
    except DatasetError:
        raise
    except ValueError as error:
        raise UsageError(f"{request.name}: {error}") from None


def _write_all(folder: Path, dataset: MosaicDataset) -> Iterator[tuple]:
    """Write images and masks, and yield the rows of the index."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    digits = max(4, len(str(len(dataset))))
    for index in range(len(dataset)):
        sample = dataset.compose(index)
        name = f"mosaic_{index + 1:0{digits}d}"
        image, mask = f"images/{name}.png", f"masks/{name}.png"
        rgb = np.ascontiguousarray(sample["img"][..., ::-1])
        Image.fromarray(rgb).save(folder / image, compress_level=1)
        save_mask(folder / mask, sample["gt_seg_map"])
        known = [
            (t["box"], t["stem"], t["class_name"], t["group"]) for t in sample["tiles"]
        ]
        # A spare tile has a box and no cell.
        spare = [(box, "", "", "") for box in sample["spare_tiles"]]
        for place, (box, *cell) in enumerate([*known, *spare], 1):
            yield (name, image, mask, place, *cell, *box)


def _write_about(
    folder: Path, root: Path, request: MosaicsRequest, mosaics: int
) -> None:
    about = read_about(root)
    text = json.dumps(
        {
            "schema": SCHEMA,
            **{k: about.get(k) for k in ("name", "source", "licence", "citation")},
            "sha256": about.get("sha256"),
            "classes": about.get("classes"),
            "split": request.split,
            "part": request.part,
            "mosaics": mosaics,
            "n": request.n,
            "size": request.size,
            "seed": request.seed,
            "class_balanced": request.class_balanced,
            "layout": request.layout,
            "enhance": request.enhance,
        },
        indent=2,
    )
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def _same(place: Path, building: Path) -> bool:
    """Tell whether two folders hold the same files, byte for byte."""
    here, there = (
        sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        for folder in (place, building)
    )
    return here == there and all(
        filecmp.cmp(place / name, building / name, shallow=False) for name in here
    )
