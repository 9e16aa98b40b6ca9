"""Write contact sheets of a dataset, or of what a config trains on."""

from __future__ import annotations

import copy
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL, OTHER, OTHER_COLOUR
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte import LeukocyteDataset, build_pipeline
from leuko_mm.datasets.prepared import data_home, dataset_root, is_binary
from leuko_mm.errors import UsageError
from leuko_mm.files import real_path, refuse_others, replacing_folder
from leuko_mm.registry import DATASETS, MODELS, SCOPE
from leuko_mm.report.contact_sheet import (
    BrowsePage,
    Figure,
    Sheet,
    draw_sheet,
    render_browse_page,
    write_sheet,
)
from leuko_mm.report.overlay import fitted, overlay
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.building import building_errors
from leuko_mm.training.config import find_config, resolve_config
from leuko_mm.training.preflight import check_data, draw_synthetic
from leuko_mm.training.results import run_name
from leuko_mm.training.run_report import class_labels

# Kind of sheet -> number of its figures unless asked for otherwise.
KINDS = {"cells": 30, "masks": 30, "mosaics": 8, "batches": 8}
OF_A_DATASET = ("cells", "masks")
PAGE_FILE = "browse.html"
LEAST_SIDE = 256  # px; an outline would hide a smaller cell
LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))
EVENLY = "as evenly over the classes as possible"
LEADS = {
    "cells": ", as they were taken; below each, its group and its size.",
    "masks": ", with their masks outlined; grey is not judged (255).",
    "mosaics": "Cells as they are composed: enhanced where the config says so, "
    "resized, not yet augmented. Beside each mosaic, its labels.",
    "batches": "The first images that the network is {}, through the config's own "
    "loader and data preprocessor, with the normalisation taken back. Beside each "
    "image, its labels.",
}
Batch = list[tuple[np.ndarray, np.ndarray]]  # image and labels of each sample


@dataclass
class BrowseRequest:
    """What to show, and where to write it.

    Args:
        target: a config's path or name, or a prepared dataset's.
        protocol, split, data, seed, options: as in training; a dataset takes ``split``
            and ``seed`` only.
        part: ``train`` or ``test``; None is ``train``.
        what: kinds of sheets; empty for all.
        count: figures a sheet; None for the defaults.
        out: output folder; None derives one below ``work_dirs/``.
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
    """Write page and sheets, all of them or nothing; return the page's path.

    Raises:
        UsageError, DatasetError: with nothing written.
    """
    config = _config(request)
    part = request.part or "train"
    request = replace(request, part=part)
    if config is None:
        root = dataset_root(request.target)
        subset = [request.split, part] if request.split else []
        name = "-".join([real_path(root).name, *subset])
    else:
        name = run_name(config) + ("" if part == "train" else f"-{part}")
    out = Path(request.out or f"work_dirs/browse-{name}")
    ours = (PAGE_FILE, *(f"{kind}.png" for kind in KINDS))
    refuse_others(out, "contact sheets", ours, force=request.force)
    if config is None:
        draw_synthetic(request.target)
        quick_check(root, split=request.split)
        dataset = LeukocyteDataset(
            request.target,
            split=request.split,
            part=part,
            binary=is_binary(root),
            other=True,
            test_mode=True,
        )
    else:
        check_data(config)
        dataset = build_dataset(config, part)
    page = _page(request, config, name, FigureMaker(dataset))
    try:
        with replacing_folder(out) as building:
            text = render_browse_page(page)
            (building / PAGE_FILE).write_text(text, encoding="utf-8")
            for sheet in page.sheets:
                write_sheet(building / f"{sheet.name}.png", draw_sheet(sheet))
    except OSError as error:
        raise UsageError(
            f"{out} was not written ({error}); fix the cause, or choose another --out"
        ) from error
    return out / PAGE_FILE


def _config(request: BrowseRequest) -> Config | None:
    """Return the config that was named, None if a dataset was."""
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
    """Refuse a dataset that does not exist, and what only a config can show."""
    known = dataset_root(request.target).is_dir() or request.target == "synthetic"
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
    given = dict(protocol=request.protocol, data=request.data)
    given["cfg-options"] = request.options
    unused = " and ".join(f"--{flag}" for flag, value in given.items() if value)
    if unused:
        raise UsageError(
            f"{request.target} is a dataset, and {unused} would change nothing of it; "
            "leave that out, or name a config"
        )
    if request.part and not request.split:
        raise UsageError(
            f"--part {request.part} is a part of a split; add --split fold1, ..."
        )


def _page(
    request: BrowseRequest, config: Config | None, name: str, maker: FigureMaker
) -> BrowsePage:
    cells = maker.cells
    counts = Counter(info["class_name"] for info in maker.infos)
    groups = len({info["group"] for info in maker.infos})
    split = f"split {cells.split}, part {cells.part}" if cells.split else "every cell"
    roots = [source.root for source in cells.sources]
    facts = dict(
        dataset=", ".join(map(str, roots)), cells=f"{len(cells)} in {groups} groups"
    )
    facts["of"] = split
    if config is not None:
        facts["config"] = str(config.filename)
        facts["protocol"] = config.get("protocol", "its own")
        facts["seed"] = str(config.randomness.get("seed"))
    facts["command"] = " ".join([*request.command[:1], shlex.join(request.command[1:])])
    labels = maker.labels[1:]
    if OTHER in counts:
        labels += (ClassLabel(OTHER, OTHER, OTHER_COLOUR),)
    return BrowsePage(
        name=name,
        summary=f"{len(cells)} cells of "
        f"{' and '.join(real_path(root).name for root in roots)} in {groups} groups: "
        f"{split}.",
        # Where classes are merged, the index still counts the original ones.
        classes=tuple((label, counts.get(label.name)) for label in labels),
        facts=tuple(facts.items()),
        sheets=tuple(_sheets(request, config, maker)),
    )


def _sheets(
    request: BrowseRequest, config: Config | None, maker: FigureMaker
) -> Iterator[Sheet]:
    classes = [info["class_name"] for info in maker.infos]
    kinds = request.what or (OF_A_DATASET if config is None else KINDS)
    counts = {kind: request.count or KINDS[kind] for kind in KINDS}
    for kind in (kind for kind in OF_A_DATASET if kind in kinds):
        chosen = choose_spread(classes, counts[kind], seed=request.seed or 0)
        lead = f"All {len(classes)} cells"
        if len(chosen) < len(classes):
            lead = f"{len(chosen)} of {len(classes)} cells, {EVENLY}"
        lead += LEADS[kind]
        figures = maker.of_cells(chosen, outlined=kind == "masks")
        yield Sheet(kind, kind.capitalize(), lead, True, figures)
    composed = hasattr(maker.dataset, "compose")
    if "mosaics" in request.what and not composed:
        raise UsageError(f"{request.target} takes single cells, and makes no mosaics")
    if "mosaics" in kinds and composed:
        bare = copy.deepcopy(config)
        bare[f"{request.part}_dataloader"].dataset.update(
            tile_augmentation=[], pipeline=[]
        )
        mosaics = build_dataset(bare, request.part)
        with building_errors():
            figures = maker.of_mosaics(mosaics, counts["mosaics"])
        yield Sheet("mosaics", "Mosaics", LEADS["mosaics"], False, figures)
    if "batches" in kinds:
        with building_errors():
            batches = first_batches(config, request.part, counts["batches"])
        use = "trained on" if request.part == "train" else "tested on"
        lead = LEADS["batches"].format(use)
        yield Sheet("batches", "Batches", lead, False, maker.of_batches(batches))


def build_dataset(config: Config, part: str):
    """Build the dataset of a config's loader."""
    scope = config.get("default_scope", SCOPE)
    with building_errors(), DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(copy.deepcopy(config[f"{part}_dataloader"]["dataset"]))


def choose_spread(classes: Sequence[str], count: int, *, seed: int) -> list[int]:
    """Return indices that choose every class equally often, as far as possible."""
    by_class = defaultdict(list)
    for index in np.random.default_rng(seed).permutation(len(classes)).tolist():
        by_class[classes[index]].append(index)
    # First of each class its first item, then of each its second, ...
    turns = [
        (turn, name, index)
        for name, indices in by_class.items()
        for turn, index in enumerate(indices)
    ]
    kept = sorted(turns)[:count]
    order = {name: place for place, name in enumerate(dict.fromkeys(classes))}
    return [i for _, _, i in sorted(kept, key=lambda t: (order[t[1]], t[0]))]


def first_batches(config: Config, part: str, count: int) -> list[Batch]:
    """Return the first batches as the network would get them, as RGB and labels.

    They come from the config's own loader and data preprocessor; the model is not
    built. At least ``count`` images; the last batch is taken whole.

    Shape:
        images (H, W, 3) uint8, without the normalisation; labels (H, W) uint8.
    """
    randomness = dict(config.randomness)
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        loader = Runner.build_dataloader(
            config[f"{part}_dataloader"],
            seed=randomness.get("seed"),
            diff_rank_seed=randomness.get("diff_rank_seed", False),
        )
        preprocessor = MODELS.build(copy.deepcopy(config.model["data_preprocessor"]))
    batches: list[Batch] = []
    for data in loader:
        with torch.no_grad():
            data = preprocessor(data, part == "train")
        samples = (sample.gt_sem_seg.data[0] for sample in data["data_samples"])
        labels = [sample.numpy().astype(np.uint8) for sample in samples]
        images = displayed(data["inputs"], preprocessor)
        batches.append(list(zip(images, labels, strict=True)))
        if sum(map(len, batches)) >= count:
            break
    return batches


def displayed(inputs: torch.Tensor, preprocessor) -> list[np.ndarray]:
    """Invert the normalisation of any preprocessor; return RGB uint8 images.

    Normalising and turning BGR into RGB is one linear map a pixel. It is measured by
    passing black, and then each primary colour, through the preprocessor.

    Shape:
        (B, 3, H, W) -> B times (H, W, 3).
    """
    probe = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    for channel in range(3):
        probe[channel + 1, channel] = 255
    samples = [SegDataSample() for _ in probe]
    with torch.no_grad():
        seen = preprocessor(dict(inputs=list(probe), data_samples=samples), False)
    colours = seen["inputs"][:, :, 0, 0].double().cpu()  # (4, 3)
    back = torch.linalg.inv((colours[1:] - colours[0]) / 255)
    # (B, 3, H, W) -> (B, H, W, 3)
    values = inputs.detach().double().cpu().permute(0, 2, 3, 1)
    bgr = ((values - colours[0]) @ back).round().clamp(0, 255)
    return [image.numpy() for image in bgr.flip(-1).to(torch.uint8)]


class FigureMaker:
    """Draws figures of a built dataset, which is of cells or of mosaics of them."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.cells = getattr(dataset, "cells", dataset)
        self.labels = class_labels(self.cells.metainfo)
        self.infos = [self.cells.get_data_info(i) for i in range(len(self.cells))]

    def of_cells(self, chosen: Sequence[int], *, outlined: bool) -> tuple[Figure, ...]:
        """Return the chosen cells as they were taken, or with their masks outlined."""
        load, figures = build_pipeline(LOADING), []
        for index in chosen:
            sample = load(self.cells.get_data_info(index))
            image, labels = as_rgb(sample["img"]), sample["gt_seg_map"]
            if outlined:
                side = max(*labels.shape, LEAST_SIDE)
                image = self._outlined(fitted(image, side), fitted(labels, side))
            info = self.infos[index]
            notes = info["group"], _size(labels)
            notes += (OTHER,) if info["class_name"] == OTHER else ()
            figures.append(Figure(info["stem"], notes, self._classes(labels), (image,)))
        return tuple(figures)

    def of_mosaics(self, mosaics, count: int) -> tuple[Figure, ...]:
        """Return the first mosaics of a dataset, plain and outlined."""
        figures = []
        for index in range(min(count, len(mosaics))):
            sample = mosaics[index]
            image, labels = as_rgb(sample["img"]), sample["gt_seg_map"]
            notes = (", ".join(tile["stem"] for tile in sample["tiles"]),)
            figures.append(self._pair(f"mosaic {index + 1}", notes, image, labels))
        return tuple(figures)

    def of_batches(self, batches: Sequence[Batch]) -> tuple[Figure, ...]:
        """Return the images of batches, plain and outlined."""
        return tuple(
            self._pair(
                f"batch {n}, {i} of {len(batch)}", (_size(labels),), image, labels
            )
            for n, batch in enumerate(batches, 1)
            for i, (image, labels) in enumerate(batch, 1)
        )

    def _pair(self, title, notes, image, labels) -> Figure:
        pictures = image, self._outlined(image, labels)
        return Figure(title, notes, self._classes(labels), pictures)

    def _classes(self, labels: np.ndarray) -> tuple[ClassLabel, ...]:
        found = set(np.unique(labels).tolist()) - {BACKGROUND, IGNORE_LABEL}
        return tuple(self.labels[class_id] for class_id in sorted(found))

    def _outlined(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        legend = {label.name: label.colour for label in self.labels}
        width = 1 if max(labels.shape) <= LEAST_SIDE else 2
        return overlay(image, labels, alpha=0, outline=width, legend=legend)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image of a pipeline, BGR or grey, as RGB uint8."""
    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.ascontiguousarray(image[..., ::-1])


def _size(labels: np.ndarray) -> str:
    # Spaces that do not break: a narrow caption keeps the two numbers together.
    return f"{labels.shape[1]}\u00a0x\u00a0{labels.shape[0]}"
