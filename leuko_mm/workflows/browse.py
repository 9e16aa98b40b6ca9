"""Write contact sheets of a dataset, or of what a config makes of one."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte_dataset import (
    LeukocyteDataset,
    dataset_root,
    is_binary,
)
from leuko_mm.datasets.prepared import data_home
from leuko_mm.errors import UsageError
from leuko_mm.report.browse_page import BrowsePage, Sheet
from leuko_mm.workflows.browse_files import PAGE_FILE, check_place, write_page
from leuko_mm.workflows.browse_sheets import (
    Shown,
    build_dataset,
    choose_spread,
    unaugmented,
)
from leuko_mm.workflows.first_batches import first_batches
from leuko_mm.workflows.preflight import check_data, draw_synthetic
from leuko_mm.workflows.resolve_config import find_config, resolve_config
from leuko_mm.workflows.run_place import run_name
from leuko_mm.workflows.train import building_errors

# Kind of sheet -> how many figures there are on it unless asked for otherwise.
KINDS = {"cells": 30, "masks": 30, "mosaics": 8, "batches": 8}
OF_A_DATASET = ("cells", "masks")
MOSAICS_LEAD = (
    "Cells as they are composed: enhanced where the config says so, resized, not yet "
    "augmented. Beside each mosaic, its labels."
)
BATCHES_LEAD = (
    "The first images that the network is {}, through the config's own loader and data "
    "preprocessor, with the normalisation taken back. Beside each image, its labels."
)


@dataclass
class BrowseRequest:
    """What a user asked to see.

    Args:
        target: a config's path or name, or a prepared dataset's.
        protocol, split, data, seed, options: as for a training; a dataset takes only
            ``split`` and ``seed``.
        part: ``train`` or ``test``; None is ``train`` where there is a split.
        what: kinds of sheets; empty for all that there are.
        count: figures a sheet; None for the defaults.
        out: output folder; None derives one below ``work_dirs/``.
        force: replace contact sheets that stand there.
        command: the command line, for the record.
    """

    target: str
    protocol: str | None = None
    split: str | None = None
    data: str | None = None
    seed: int | None = None
    options: Mapping = field(default_factory=dict)
    part: str | None = None
    what: Sequence[str] = ()
    count: int | None = None
    out: str | None = None
    force: bool = False
    command: Sequence[str] = ()


def browse(request: BrowseRequest) -> Path:
    """Draw what was asked for; return the page's path.

    Raises:
        UsageError, DatasetError: with nothing written.
    """
    config = _config(request)
    if config is None:
        root = dataset_root(request.target)
        name, part = _dataset_name(request), request.part or "train"
    else:
        part = request.part or "train"
        name = run_name(config) + ("" if part == "train" else f"-{part}")
    out = Path(request.out or f"work_dirs/browse-{name}")
    check_place(out, kinds=KINDS, force=request.force)
    if config is None:
        draw_synthetic(request.target)
        quick_check(root, split=request.split)
        dataset = LeukocyteDataset(
            request.target,
            split=request.split,
            part=part,
            binary=is_binary(root),
            test_mode=True,
        )
    else:
        check_data(config)
        with building_errors():
            dataset = build_dataset(config, part)
    shown = Shown(dataset)
    sheets = tuple(_sheets(request, shown, config, part))
    page = _page(request, shown, config, name=name, part=part, sheets=sheets)
    write_page(out, page)
    return out / PAGE_FILE


def _config(request: BrowseRequest) -> Config | None:
    """Return the config that was named, None if a dataset was.

    Raises:
        UsageError: if there is neither, or what was asked for needs a config.
    """
    try:
        find_config(request.target)
    except UsageError as error:
        _check_dataset(request, error)
        return None
    return resolve_config(
        request.target,
        protocol=request.protocol,
        split=request.split,
        data=request.data,
        seed=request.seed,
        options=request.options,
    )


def _check_dataset(request: BrowseRequest, no_config: UsageError) -> None:
    root = dataset_root(request.target)
    known = root.is_dir() or request.target == "synthetic"
    if not known and "/" not in request.target:
        there = sorted(path.parent.name for path in data_home().glob("*/dataset.json"))
        raise UsageError(
            f"{no_config}; and no prepared dataset of that name in {data_home()}, "
            f"which holds: {', '.join(there) or 'none'}"
        )
    further = [kind for kind in request.what if kind not in OF_A_DATASET]
    if further:
        raise UsageError(
            f"{' and '.join(further)} are made by a config; name one, as in\n"
            f"    leuko browse cbam_unet --protocol half --data {request.target} "
            f"--what {' '.join(request.what)}"
        )
    given = dict(protocol=request.protocol, data=request.data, options=request.options)
    unused = [key for key, value in given.items() if value]
    if unused:
        flags = dict(options="--cfg-options")
        names = " and ".join(flags.get(key, f"--{key}") for key in unused)
        raise UsageError(
            f"{request.target} is a dataset, and {names} would change nothing of it; "
            "leave that out, or name a config"
        )
    if request.part and not request.split:
        raise UsageError(
            f"--part {request.part} is a part of a split; add --split fold1, ..."
        )


def _dataset_name(request: BrowseRequest) -> str:
    part = (request.part or "train") if request.split else None
    root = dataset_root(request.target)
    return "-".join(p for p in (root.resolve().name, request.split, part) if p)


def _sheets(
    request: BrowseRequest, shown: Shown, config: Config | None, part: str
) -> Iterator[Sheet]:
    kinds = request.what or (OF_A_DATASET if config is None else KINDS)
    counts = {kind: request.count or KINDS[kind] for kind in KINDS}
    for kind in (kind for kind in OF_A_DATASET if kind in kinds):
        classes = [info["class_name"] for info in shown.infos]
        chosen = choose_spread(classes, counts[kind], seed=request.seed or 0)
        figures = shown.cell_figures(chosen, masks=kind == "masks")
        lead = _cells_lead(kind, len(chosen), len(classes))
        yield Sheet(kind, kind.capitalize(), lead, True, figures)
    composed = hasattr(shown.dataset, "compose")
    if "mosaics" in request.what and not composed:
        raise UsageError(f"{request.target} takes single cells, and makes no mosaics")
    if "mosaics" in kinds and composed:
        with building_errors():
            mosaics = build_dataset(unaugmented(config, part), part)
        figures = shown.mosaic_figures(mosaics, counts["mosaics"])
        yield Sheet("mosaics", "Mosaics", MOSAICS_LEAD, False, figures)
    if "batches" in kinds:
        with building_errors():
            images = first_batches(config, part, counts["batches"])
        lead = BATCHES_LEAD.format("trained on" if part == "train" else "tested on")
        figures = shown.batch_figures(images)
        yield Sheet("batches", "Batches", lead, False, figures)


def _cells_lead(kind: str, shown: int, total: int) -> str:
    words = f"All {total} cells"
    if shown < total:
        words = f"{shown} of {total} cells, the classes as evenly as they can be"
    if kind == "cells":
        return f"{words}, as they were taken; below each, its group and its size."
    return f"{words}, with their masks outlined; grey is not judged (255)."


def _page(
    request: BrowseRequest, shown: Shown, config: Config | None, *, name, part, sheets
) -> BrowsePage:
    counts = Counter(info["class_name"] for info in shown.infos)
    groups = len({info["group"] for info in shown.infos})
    cells = shown.cells
    split = f"split {cells.split}, part {cells.part}" if cells.split else "every cell"
    facts = dict(dataset=str(cells.root), cells=f"{len(cells)} in {groups} groups")
    facts["of"] = split
    if config is not None:
        facts["config"] = str(config.filename)
        facts["protocol"] = config.get("protocol", "its own")
        facts["seed"] = str(config.randomness.get("seed"))
    facts["command"] = " ".join([*request.command[:1], shlex.join(request.command[1:])])
    return BrowsePage(
        name=name,
        summary=f"{len(cells)} cells of {cells.root.resolve().name} in {groups} "
        f"groups: {split}.",
        # Where classes are merged, the index still counts the true ones.
        classes=tuple((label, counts.get(label.name)) for label in shown.labels[1:]),
        facts=tuple(facts.items()),
        sheets=sheets,
    )
