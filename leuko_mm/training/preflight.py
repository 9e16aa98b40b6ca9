"""Everything that can be known to be wrong before a training starts."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
from leuko_mm.datasets.leukocyte import check_binary
from leuko_mm.datasets.prepared import dataset_root
from leuko_mm.engine.checkpoints import training_states
from leuko_mm.engine.encoder_weights import find_weights
from leuko_mm.errors import UsageError, did_you_mean
from leuko_mm.progress import ProgressLine

SYNTHETIC = "synthetic"


def cells_config(config: Config, part: str) -> Config:
    """Return the config of the cells below a loader's dataset, mosaic or not."""
    dataset = config[f"{part}_dataloader"]["dataset"]
    return dataset.get("dataset", dataset)


def check_run(config: Config, work_dir: Path, *, resume: bool, force: bool) -> None:
    """Refuse a run whose data, weights or output folder would fail it.

    Raises:
        UsageError: if the output folder holds a finished or unfinished run.
        DatasetError: if the dataset is missing or broken.
        WeightsError: if pretrained weights are missing.
    """
    check_output(work_dir, resume=resume, force=force)
    if cells_config(config, "train").get("split") is None:
        raise UsageError(
            "training needs a split, or it would be tested on the cells it learnt; "
            "give --split fold1 ... fold5"
        )
    check_optimizer(config)
    check_data(config)
    check_weights(config)


def check_optimizer(config: Config) -> None:
    """Find the optimiser by name: mmengine only says that None is not callable."""
    kind = config.optim_wrapper.get("optimizer", {}).get("type")
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        hint = did_you_mean(kind, OPTIMIZERS.module_dict)
        raise UsageError(f"optim_wrapper.optimizer: there is no {kind!r}{hint}")


def check_output(work_dir: Path, *, resume: bool, force: bool) -> None:
    """Refuse to write over a run, or to go on with one that is not there."""
    _check_writable(work_dir)
    if resume:
        _check_state(work_dir)
    if resume or force:
        return
    if (work_dir / "results.json").exists():
        raise UsageError(
            f"{work_dir} holds a finished run; add --force to replace it, or choose "
            "another --work-dir"
        )
    if (work_dir / "last_checkpoint").exists():
        raise UsageError(
            f"{work_dir} holds an unfinished run; add --resume to go on with it, "
            "--force to start anew, or choose another --work-dir"
        )


def _check_writable(work_dir: Path) -> None:
    place = work_dir.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{place} is a file; choose another --work-dir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{place} cannot be written to; choose another --work-dir")


def _check_state(work_dir: Path) -> None:
    mark = work_dir / "last_checkpoint"
    state = Path(mark.read_text().strip()) if mark.is_file() else None
    if state is not None and not state.exists() and not training_states(work_dir):
        raise UsageError(
            f"{mark} names {state}, which does not exist; write the path of the newest "
            f"iter_*.pth into it, or start anew with --force instead of --resume"
        )


def check_data(config: Config) -> None:
    """Run the quick check on the datasets of both loaders."""
    seen = set()
    for part in ("train", "test"):
        cells = cells_config(config, part)
        if "name" not in cells:
            raise UsageError(
                f"the dataset of {part}_dataloader is {cells.get('type')!r} without a "
                "'name'; it must be the name of a prepared dataset: see `leuko prepare`"
            )
        place = (str(dataset_root(cells["name"])), cells.get("split"))
        if place not in seen:
            seen.add(place)
            draw_synthetic(cells["name"])
            quick_check(Path(place[0]), split=place[1])
        check_binary(dataset_root(cells["name"]), cells.get("binary", False))
        _check_head(config, cells.get("binary", False))


def _check_head(config: Config, binary: bool) -> None:
    """Compare the network's classes with the data's; the test would fail on them."""
    head = config.model.get("decode_head")
    there = head.get("num_classes") if isinstance(head, dict) else None
    names = BINARY_NAMES if binary else CLASS_NAMES
    if there is not None and there != len(names):
        raise UsageError(
            f"model.decode_head.num_classes is {there}, but the data has {len(names)} "
            f"({', '.join(names)}); add --cfg-options "
            f"model.decode_head.num_classes={len(names)}"
        )


def draw_synthetic(name: str) -> None:
    """Prepare the synthetic smears if they are asked for and not there yet.

    They are the only data that a training makes for itself: they travel with the
    package, and nobody takes them for real.
    """
    root = dataset_root(name)
    if name == SYNTHETIC and not root.exists():
        print_log(f"drawing synthetic smears into {root}", "current")
        with ProgressLine("drawing cells") as line:
            prepare_synthetic(root, progress=line)


def check_weights(config: Config) -> None:
    """Find the encoder's weights now rather than after everything is built."""
    recipe = config.model.get("backbone", {}).get("init_cfg") or {}
    if isinstance(recipe, dict) and recipe.get("type") == "leuko_mm.EncoderWeights":
        find_weights(recipe["checkpoint"])
    start = config.get("load_from")
    if start and "://" not in start and not Path(start).is_file():
        raise UsageError(f"load_from: {start} does not exist")
