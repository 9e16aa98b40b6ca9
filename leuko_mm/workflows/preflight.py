"""Everything that can be known to be wrong before a training starts."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.engine.encoder_weights import find_weights
from leuko_mm.workflows.resolve_config import UsageError


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
    check_data(config)
    check_weights(config)


def check_output(work_dir: Path, *, resume: bool, force: bool) -> None:
    """Refuse to write over a run."""
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


def check_data(config: Config) -> None:
    """Run the quick check on the datasets of both loaders."""
    seen = set()
    for part in ("train", "test"):
        cells = cells_config(config, part)
        place = (str(dataset_root(cells["name"])), cells.get("split"))
        if place not in seen:
            seen.add(place)
            quick_check(Path(place[0]), split=place[1])


def check_weights(config: Config) -> None:
    """Find the encoder's weights now rather than after everything is built."""
    recipe = config.model.get("backbone", {}).get("init_cfg") or {}
    if isinstance(recipe, dict) and recipe.get("type") == "leuko_mm.EncoderWeights":
        find_weights(recipe["checkpoint"])
    if config.get("load_from") and not Path(config.load_from).is_file():
        raise UsageError(f"load_from: {config.load_from} does not exist")
