"""What stands beside a checkpoint: what it is, and whether it fits what is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.inference.training_scale import trained_red_cell
from leuko_mm.workflows.preflight import cells_config
from leuko_mm.workflows.start_from import start_facts

# What the data preprocessor does to the values of a pixel.
NORMALISATION = ("mean", "std", "bgr_to_rgb")


def sidecar_of(config: Config, results: Mapping, metainfo: Mapping) -> dict:
    """Return what a checkpoint needs to be used without its config.

    Args:
        config: the run's resolved config.
        results: the content of ``results.json``.
        metainfo: of the dataset; its classes and palette.
    """
    classes = list(metainfo["classes"])
    preprocessor = config.model.data_preprocessor.to_dict()
    size, n = results["data"]["size"], (results["data"]["mosaic"] or {}).get("n", 1)
    cell_px = size // n if size else None
    return dict(
        method=config.method,
        config=dict(
            classes=classes,
            model=config.model.to_dict(),
            data_preprocessor=preprocessor,
        ),
        classes=classes,
        colours=[list(c) for c in metainfo["palette"]],
        # The side that one prepared cell image has when the network sees it.
        scale=dict(px_per_um=None, rbc_px=_red_cell(config, cell_px), cell_px=cell_px),
        enhance=results["data"]["enhance"],
        normalisation={key: preprocessor.get(key) for key in NORMALISATION},
        training=dict(
            dataset=results["data"]["dataset"],
            sha256=results["data"]["sha256"],
            split=results["run"]["split"],
            seed=results["run"]["seed"],
            iterations=results["run"]["iterations"],
            git=results["run"]["git"],
            **start_facts(config),
        ),
        metrics=results["metrics"],
        licence="Apache-2.0",
    )


def _red_cell(config: Config, cell_px: int | None) -> float | None:
    """Return how large the network saw red cells, None if nothing tells."""
    cells = cells_config(config, "train")
    try:
        root = dataset_root(cells["name"])
        return trained_red_cell(root, cells.get("split"), cell_px=cell_px)
    except DatasetError:
        # The training is done; a file that broke meanwhile must not lose it.
        return None


def read_sidecar(path: Path, digest: str) -> dict:
    """Return the sidecar of a checkpoint, {} if it has none.

    Raises:
        UsageError: if the file is not the one the sidecar describes.
    """
    place = path.with_suffix(".json")
    if not place.is_file():
        return {}
    try:
        sidecar = json.loads(place.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UsageError(f"{place} is damaged ({error})") from None
    if sidecar.get("sha256") != digest:
        raise UsageError(
            f"{path} is not the file that {place.name} describes: its sha256 is "
            f"{digest[:12]}..., expected {str(sidecar.get('sha256'))[:12]}..."
        )
    return sidecar


def check_sidecar(path: Path, sidecar: dict, config: Config, metainfo: Mapping) -> None:
    """Refuse a checkpoint that was made for other classes or other images.

    Args:
        path: the checkpoint, for the message.
        sidecar: its sidecar; {} passes.
        config: the config it is tested with.
        metainfo: of the dataset it is tested on.

    Raises:
        UsageError: naming what the checkpoint has and what the config has.
    """
    if not sidecar:
        return
    preprocessor = config.model.data_preprocessor
    here = dict(
        classes=list(metainfo["classes"]),
        enhance=config.train_dataloader.dataset.get("enhance"),
        normalisation={key: preprocessor.get(key) for key in NORMALISATION},
    )
    for key, value in json.loads(json.dumps(here)).items():
        if sidecar.get(key) != value:
            raise UsageError(
                f"{path} was trained with {key} {sidecar.get(key)}, the config has "
                f"{value}; test it with the config it was trained with"
            )
