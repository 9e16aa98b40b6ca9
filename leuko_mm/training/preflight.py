"""Everything that can be known to be wrong before a training starts."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS, DefaultScope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.joined import dataset_names, is_virtual, read_sources
from leuko_mm.datasets.leukocyte import check_binary
from leuko_mm.datasets.prepared import BY_MODEL, dataset_root
from leuko_mm.engine.checkpoints import training_states
from leuko_mm.engine.encoder_weights import find_weights
from leuko_mm.engine.hooks import random_states, restore_random_states
from leuko_mm.engine.runner import unwrapped
from leuko_mm.errors import UsageError, did_you_mean
from leuko_mm.inference.predictor import try_enhancement
from leuko_mm.models.size import build_bare
from leuko_mm.progress import ProgressLine
from leuko_mm.training.building import building_errors
from leuko_mm.training.config import LOADERS, cells_config, mappings

LOGGER = logging.getLogger("leuko_mm")
SYNTHETIC = "synthetic"
USUAL_SIDE = 256  # pixels of an image where the config says none


def check_run(config: Config, work_dir: Path, *, resume: bool, force: bool) -> None:
    """Refuse a run whose data, weights or output folder would fail it.

    Raises:
        UsageError, DatasetError, WeightsError: see the checks below.
    """
    check_output(work_dir, resume=resume, force=force)
    if cells_config(config, "train").get("split") is None:
        raise UsageError(
            "training needs a split, or it would be tested on its own training cells; "
            "give --split fold1 ... fold5"
        )
    # mmengine only says that None is not callable.
    kind = config.optim_wrapper.get("optimizer", {}).get("type")
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        hint = did_you_mean(kind, OPTIMIZERS.module_dict)
        raise UsageError(f"optim_wrapper.optimizer: there is no {kind!r}{hint}")
    check_hooks(config)
    check_data(config)
    check_apart(config)
    check_enhancement(config)
    check_losses(config)
    check_weights(config)


def check_hooks(config: Config) -> None:
    """Refuse to draw predictions on the files of images that are of several files."""
    packed = [
        step.get("meta_keys", "img_path")
        for step in mappings(config.test_dataloader.dataset.get("pipeline"))
        if step.get("type") == "PackSegInputs"
    ]
    if all("img_path" in keys for keys in packed):
        return
    hooks = [*(config.get("default_hooks") or {}).values()]
    for hook in [*hooks, *(config.get("custom_hooks") or [])]:
        drawing = isinstance(hook, Mapping) and hook.get("draw")
        if drawing and str(hook.get("type")).endswith("SegVisualizationHook"):
            raise UsageError(
                "SegVisualizationHook(draw=True) draws on the file of an image, but a "
                "tested mosaic has none; leave the hook out: report.html of the run "
                "shows predictions"
            )


def check_writable(folder: Path, option: str) -> None:
    """Refuse a folder, named by an option, in which nothing can be written."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{place} is a file; choose another {option}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place} cannot be written to; choose another {option}")


def check_output(work_dir: Path, *, resume: bool, force: bool) -> None:
    """Refuse to write over a run, or to resume one that is not there."""
    check_writable(work_dir, "--work-dir")
    finished, mark = work_dir / "results.json", work_dir / "last_checkpoint"
    if force and not resume:
        return
    if finished.exists() and not (resume and training_states(work_dir)):
        instead = " instead of --resume" if resume else ""
        raise UsageError(
            f"{work_dir} holds a finished run; add --force{instead} to replace it, or "
            "choose another --work-dir"
        )
    if mark.exists() and not resume:
        raise UsageError(
            f"{work_dir} holds an unfinished run; add --resume to go on with it, "
            "--force to start again, or choose another --work-dir"
        )


def check_data(config: Config) -> None:
    """Run the quick check on the datasets of both loaders.

    Raises:
        UsageError: if a loader's dataset is none of ours, or has other classes.
        DatasetError: if a dataset is missing or broken.
    """
    checked = set()
    for part in ("train", "test"):
        cells = cells_config(config, part)
        if not {"name", "names"} & set(cells):
            raise UsageError(
                f"the dataset of {part}_dataloader is {cells.get('type')!r} without a "
                "'name'; it must be the name of a prepared dataset: see `leuko prepare`"
            )
        for data in dataset_names(cells):
            draw_synthetic(data)
        binary = cells.get("binary", False)
        for source in read_sources(cells):
            root, split = source.root, cells.get("split")
            if is_virtual(split, joined=source.joined):
                split = None
            if (root, split) not in checked:
                checked.add((root, split))
                quick_check(root, split=split)
            check_binary(root, binary)
        names = BINARY_NAMES if binary else CLASS_NAMES
        for head in ("decode_head", "auxiliary_head"):
            given = config.model.get(head)
            parts = enumerate(given) if isinstance(given, list) else [("", given)]
            for number, part in parts:
                count = part.get("num_classes") if isinstance(part, dict) else None
                if count not in (None, len(names)):
                    place = head if number == "" else f"{head}.{number}"
                    key = f"model.{place}.num_classes"
                    raise UsageError(
                        f"{key} is {count!r}, but the data has {len(names)} "
                        f"({', '.join(names)}); add --cfg-options {key}={len(names)}"
                    )


def check_apart(config: Config) -> None:
    """Refuse to test on cells that the same run trains on.

    Warn of training cells that a network outlined which may know the tested ones.
    """
    trains, tests = (cells_config(config, part) for part in ("train", "test"))
    if tests.get("part") == "train":  # asked for
        return
    sources = read_sources(trains)
    trained, tested = (
        {(source.root, row.stem) for source in of_part for row in source.of(part)}
        for of_part, part in ((sources, "train"), (read_sources(tests), "test"))
    )
    if both := len(trained & tested):
        raise UsageError(
            f"{both} of the {len(tested)} cells to test are trained on: "
            f"train_dataloader has the split {trains.get('split')!r} and "
            f"test_dataloader {tests.get('split')!r}; --split gives both the same"
        )
    for source in sources:
        drawn = sum(row.outline == BY_MODEL for row in source.of("train"))
        if drawn and is_virtual(trains.get("split"), joined=source.joined):
            LOGGER.warning(
                "%d training cells of %s were outlined by a network, which may know "
                "the tested cells; --cfg-options "
                "train_dataloader.dataset.dataset.drawn_only=True leaves them out",
                drawn,
                source.name,
            )


def check_enhancement(config: Config) -> None:
    """Refuse to test, or to predict, on images other than those trained on."""
    trained, tested = (config[loader].dataset.get("enhance") for loader in LOADERS)
    if trained != tested:
        raise UsageError(
            f"train_dataloader.dataset.enhance is {trained}, and that of "
            f"test_dataloader is {tested}; a network is tested on what it was trained "
            "on: give both the same"
        )
    if not isinstance(trained, (Mapping, type(None))):
        raise UsageError(f"enhance is {trained!r}; expected the dict(...) of one part")
    with building_errors():
        try_enhancement(trained)


def draw_synthetic(name: str) -> None:
    """Prepare the synthetic smears, and no other data, if they are not there yet."""
    root = dataset_root(name)
    if name == SYNTHETIC and not root.exists():
        print_log(f"drawing synthetic smears into {root}", "current")
        with ProgressLine("drawing cells") as line:
            prepare_synthetic(root, progress=line)


def check_losses(config: Config) -> None:
    """Build every loss by itself, before weights are fetched and networks are built.

    Raises:
        UsageError: if one does not build, or is none that MMSegmentation trains on.
    """
    for part in mappings(config.model):
        losses = part.get("loss_decode") or []
        for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
            with building_errors(), DefaultScope.overwrite_default_scope("mmseg"):
                built = MODELS.build(copy.deepcopy(loss))
            name = getattr(built, "loss_name", None)
            if not isinstance(name, str) or "loss" not in name:
                has = "no loss_name" if name is None else f"loss_name {name!r}"
                raise UsageError(
                    f"the loss {type(built).__name__} has {has}; it needs one that "
                    "begins with 'loss_', such as 'loss_mine': MMSegmentation trains "
                    "on no other"
                )


def check_weights(config: Config) -> None:
    """Find the weights to start from now, rather than after everything is built."""
    init_cfg = config.model.get("backbone", {}).get("init_cfg") or {}
    if isinstance(init_cfg, dict) and init_cfg.get("type") == "leuko_mm.EncoderWeights":
        find_weights(init_cfg["checkpoint"])
    start = config.get("load_from")
    if start and "://" not in start and not Path(start).is_file():
        raise UsageError(f"load_from: {start} does not exist")


def check_test(runner: Runner) -> None:
    """Test one image before the training, rather than fail after it.

    Weights and random numbers stay as they are.
    """
    states = random_states()
    model, loader = runner.model, runner.test_loop.dataloader
    try:
        model.eval()
        batch = loader.collate_fn([loader.dataset[0]])
        with torch.no_grad():  # as in the loop
            samples = unwrapped(model).test_step(batch)
        names = loader.dataset.metainfo["classes"]
        for sample in samples:
            _check_channels(sample, names)
        evaluator = runner.test_loop.evaluator
        evaluator.process(data_samples=samples, data_batch=batch)
        for metric in evaluator.metrics:
            metric.results.clear()
    finally:
        model.train()
        restore_random_states(states)


def _check_channels(sample: SegDataSample, names: Sequence[str]) -> None:
    """Refuse logits of another number of classes than the data has."""
    logits = getattr(sample, "seg_logits", None)
    # One map may say how probable the second of two classes is.
    given = len(names) if logits is None else logits.data.shape[0]
    if given != len(names) and (given, len(names)) != (1, 2):
        raise UsageError(
            f"the model returns logits of {given} classes, but the data has "
            f"{len(names)} ({', '.join(names)}); let the last layer of its head have "
            "as many channels, num_classes"
        )


def check_batch_norm(config: Config) -> None:
    """Refuse batches of one image where batch norm would meet one value a channel.

    A model without memory finds out; nothing is computed.
    """
    loader = config.train_dataloader
    if loader.get("batch_size") != 1:
        return
    side = loader["dataset"].get("size") or USUAL_SIDE
    alone: list[str] = []

    def note(name: str):
        def before_forward(layer: nn.Module, inputs: tuple) -> None:
            if layer.training and inputs[0].numel() == inputs[0].shape[1]:
                alone.append(name)

        return before_forward

    shadow = build_bare(config, device="meta").to("meta").train()
    for name, layer in shadow.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(note(name))
    # What fails for another reason needs values; the training will tell.
    with contextlib.suppress(Exception):
        shadow(torch.empty(1, 3, side, side, device="meta"), None, mode="tensor")
    if alone:
        raise UsageError(
            f"batch_size is 1, and {alone[0]} normalises one value a channel of it, "
            "which has no spread; add --cfg-options train_dataloader.batch_size=2, or "
            "choose a norm other than BN for that part"
        )
