"""Write contact sheets of a dataset, or of what a config trains on."""

from __future__ import annotations

import copy
import shlex
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte import LeukocyteDataset, build_pipeline
from leuko_mm.datasets.prepared import data_home, dataset_root, is_binary
from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder
from leuko_mm.registry import DATASETS, MODELS, SCOPE
from leuko_mm.report.contact_sheet import (
    BrowsePage,
    Figure,
    Sheet,
    draw_sheet,
    render_browse_page,
    write_sheet,
)
from leuko_mm.report.overlay import overlay
from leuko_mm.report.run_page import ClassLabel
from leuko_mm.training.building import building_errors
from leuko_mm.training.config import find_config, resolve_config
from leuko_mm.training.preflight import check_data, draw_synthetic
from leuko_mm.training.results import run_name
from leuko_mm.training.run_report import class_labels


@dataclass(frozen=True)
class BatchImage:
    """One image of a batch, as the network gets it.

    Args:
        batch, place: both counted from 0.
        size: images in the batch.
        image: RGB uint8, the normalisation taken back.
        labels: class ids; 255 is not judged.

    Shape:
        image (H, W, 3), labels (H, W).
    """

    batch: int
    place: int
    size: int
    image: np.ndarray
    labels: np.ndarray


def first_batches(config: Config, part: str, count: int) -> list[BatchImage]:
    """Return the images of the first batches that the network would get.

    They come from the config's own loader and data preprocessor, built as a training
    or a test builds them; the model is not built. Where the samples of a dataset
    depend on its seed and their index alone, as those of this package's do, they are
    those of the run, pixel for pixel.

    Args:
        config: resolved.
        part: ``train`` or ``test``.
        count: images at least; the last batch is taken whole.
    """
    randomness = dict(config.randomness)
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        loader = Runner.build_dataloader(
            config[f"{part}_dataloader"],
            seed=randomness.get("seed"),
            diff_rank_seed=randomness.get("diff_rank_seed", False),
        )
        preprocessor = MODELS.build(copy.deepcopy(config.model["data_preprocessor"]))
    shown: list[BatchImage] = []
    for batch, data in enumerate(loader):
        with torch.no_grad():
            shown += _images_of(preprocessor, data, batch, training=part == "train")
        if len(shown) >= count:
            break
    return shown


def _images_of(preprocessor, data, batch: int, *, training: bool) -> list[BatchImage]:
    data = preprocessor(data, training)
    images = displayed(data["inputs"], preprocessor)
    labels = [sample.gt_sem_seg.data[0] for sample in data["data_samples"]]
    return [
        BatchImage(batch, place, len(images), image, truth.numpy().astype(np.uint8))
        for place, (image, truth) in enumerate(zip(images, labels, strict=True))
    ]


def displayed(inputs: torch.Tensor, preprocessor) -> list[np.ndarray]:
    """Take the normalisation of a preprocessor back, whatever it is.

    Normalising and turning BGR into RGB is one linear map a pixel. It is found out by
    putting black, and then each primary colour, through the preprocessor.

    Args:
        inputs: as the network gets them.
        preprocessor: that made them from BGR, as mmcv loads it.

    Shape:
        (B, 3, H, W) -> B times (H, W, 3), RGB uint8.
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


PAGE_FILE = "browse.html"


def check_place(out: Path, *, kinds: Iterable[str], force: bool) -> None:
    """Refuse to write over anything but contact sheets, and those without ``force``.

    Args:
        out: the folder.
        kinds: names of all sheets that there can be.
        force: whether contact sheets may be replaced.

    Raises:
        UsageError: if something stands there.
    """
    if not out.exists():
        return
    ours = {PAGE_FILE, *(f"{kind}.png" for kind in kinds)}
    if not out.is_dir() or {path.name for path in out.iterdir()} - ours:
        raise UsageError(
            f"{out} holds other things than contact sheets, so it is not replaced; "
            "choose another --out"
        )
    if any(out.iterdir()) and not force:
        raise UsageError(
            f"{out} holds contact sheets; add --force to replace them, or choose "
            "another --out"
        )


def write_page(out: Path, page: BrowsePage) -> None:
    """Write page and sheets, all of them or nothing.

    Raises:
        UsageError: if they cannot be written; what stood there is as it was.
    """
    place, building = out.resolve(), None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        (building / PAGE_FILE).write_text(render_browse_page(page), encoding="utf-8")
        for sheet in page.sheets:
            write_sheet(building / f"{sheet.name}.png", draw_sheet(sheet))
        replace_folder(place, building)
    except OSError as error:
        raise UsageError(
            f"{out} was not written ({error}); mend the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))
LEAST_SIDE = 256  # px; the outline of a smaller cell would hide it


class Shown:
    """What a dataset shows of itself.

    Args:
        dataset: built, of cells or of mosaics of them.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.cells = getattr(dataset, "cells", dataset)

    @cached_property
    def infos(self) -> list[dict]:
        """All cells of the part."""
        return [self.cells.get_data_info(i) for i in range(len(self.cells))]

    @cached_property
    def labels(self) -> tuple[ClassLabel, ...]:
        """The classes, in the order of their ids."""
        return class_labels(self.cells.metainfo)

    def cell_figures(self, chosen: Sequence[int], *, masks: bool) -> tuple[Figure, ...]:
        """Return the chosen cells as they were taken, or with their masks outlined."""
        load, figures = build_pipeline(LOADING), []
        for number in chosen:
            info = self.cells.get_data_info(number)
            sample = load(info)
            image, truth = as_rgb(sample["img"]), sample["gt_seg_map"]
            if masks:
                image = self._outlined(*_enlarged(image, truth))
            notes = info["group"], _size(truth)
            title, classes = info["stem"], self._classes(truth)
            figures.append(Figure(title, notes, classes, (image,)))
        return tuple(figures)

    def mosaic_figures(self, mosaics, count: int) -> tuple[Figure, ...]:
        """Return the first mosaics, plain and outlined.

        Args:
            mosaics: the dataset, without augmentation; see ``unaugmented``.
            count: how many at most.
        """
        figures = []
        for index in range(min(count, len(mosaics))):
            sample = mosaics[index]
            image, truth = as_rgb(sample["img"]), sample["gt_seg_map"]
            notes = (", ".join(tile["stem"] for tile in sample["tiles"]),)
            pictures = image, self._outlined(image, truth)
            title = f"mosaic {index + 1}"
            figures.append(Figure(title, notes, self._classes(truth), pictures))
        return tuple(figures)

    def batch_figures(self, images: Sequence[BatchImage]) -> tuple[Figure, ...]:
        """Return images of batches, plain and outlined."""
        return tuple(
            Figure(
                f"batch {shown.batch + 1}, {shown.place + 1} of {shown.size}",
                (_size(shown.labels),),
                self._classes(shown.labels),
                (shown.image, self._outlined(shown.image, shown.labels)),
            )
            for shown in images
        )

    def _classes(self, truth: np.ndarray) -> tuple[ClassLabel, ...]:
        found = set(np.unique(truth).tolist()) - {BACKGROUND, IGNORE_LABEL}
        return tuple(self.labels[number] for number in sorted(found))

    def _outlined(self, image: np.ndarray, truth: np.ndarray) -> np.ndarray:
        legend = {label.name: label.colour for label in self.labels}
        width = 1 if max(truth.shape) <= LEAST_SIDE else 2
        return overlay(image, truth, alpha=0, outline=width, legend=legend)


def _size(labels: np.ndarray) -> str:
    # Spaces that do not break: a narrow caption keeps the two numbers together.
    return f"{labels.shape[1]}\u00a0x\u00a0{labels.shape[0]}"


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image of a pipeline, BGR or grey, as RGB uint8.

    Example:
        >>> as_rgb(np.array([[[1, 2, 3]]], np.uint8)).tolist()
        [[[3, 2, 1]]]
    """
    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.ascontiguousarray(image[..., ::-1])


def _enlarged(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor = LEAST_SIDE / max(truth.shape)
    if factor <= 1:
        return image, truth
    size = tuple(max(1, round(side * factor)) for side in truth.shape[::-1])
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_CUBIC),
        cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def choose_spread(classes: Sequence[str], count: int, *, seed: int) -> list[int]:
    """Choose things so that every class comes equally often, as far as it can.

    Args:
        classes: of each thing.
        count: how many at most.
        seed: which of each class.

    Returns:
        Their numbers, a class in one row after the other.

    Example:
        >>> chosen = choose_spread(["a"] * 9 + ["b"] * 2, 6, seed=0)
        >>> [number > 8 for number in chosen]
        [False, False, False, False, True, True]
    """
    by_class = defaultdict(list)
    for number in np.random.default_rng(seed).permutation(len(classes)).tolist():
        by_class[classes[number]].append(number)
    # First of each class its first thing, then of each its second, ...
    turns = [
        (turn, kind, number)
        for kind, numbers in by_class.items()
        for turn, number in enumerate(numbers)
    ]
    kept = sorted(turns)[:count]
    order = {kind: place for place, kind in enumerate(dict.fromkeys(classes))}
    return [n for _, _, n in sorted(kept, key=lambda t: (order[t[1]], t[0]))]


def build_dataset(config: Config, part: str):
    """Build the dataset of a config's loader."""
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        return DATASETS.build(copy.deepcopy(config[f"{part}_dataloader"]["dataset"]))


def unaugmented(config: Config, part: str) -> Config:
    """Return a config whose mosaics are composed and nothing more."""
    bare = copy.deepcopy(config)
    dataset = bare[f"{part}_dataloader"]["dataset"]
    dataset["tile_augmentation"], dataset["pipeline"] = [], []
    return bare


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
