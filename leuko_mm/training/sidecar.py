"""The JSON file beside a checkpoint: what it is, and what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from mmengine.config import Config

from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import (
    DatasetError,
    IndexRow,
    dataset_root,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.inference.model import read_sidecar_of
from leuko_mm.inference.scale import RedCells, measure_red_cells
from leuko_mm.models.size import build_bare
from leuko_mm.training.preflight import cells_config
from leuko_mm.zoo.entries import checkpoint_of

# So many images are looked at, evenly over the training part: a few seconds.
MOST_IMAGES = 30
FEWEST_CELLS = 20


def trained_red_cell(
    root: Path, split: str | None, *, cell_px: float | None
) -> float | None:
    """Return the diameter of a red cell when the network sees it in training.

    Args:
        root: the prepared dataset.
        split: whose training part is measured; None takes every cell.
        cell_px: the side that an image of a cell is resized to; None leaves it.

    Returns:
        Pixels; None where fewer than 20 red cells are seen in all images together.

    Raises:
        DatasetError: if the dataset is missing or broken.
    """
    rows = [row for row in read_index(root) if row.kind == "cell"]
    if split:
        parts = read_split(root, split)
        rows = [row for row in rows if parts.get(row.stem) == "train"]
    diameters, counts = [], []
    for row in _spread(rows):
        measured = _measured(root / row.image, row.sha256)
        if measured:
            to_network = cell_px / row.width if cell_px else 1.0
            diameters.append(measured.diameter * to_network)
            counts.append(measured.count)
    if sum(counts) < FEWEST_CELLS:
        return None
    return round(float(np.median(np.repeat(diameters, counts))), 2)


@lru_cache(maxsize=1024)
def _measured(image: Path, sha256: str) -> RedCells | None:
    # A comparison trains many networks on the same images, by one process.
    return measure_red_cells(read_image(image))


def _spread(rows: list[IndexRow]) -> list[IndexRow]:
    if len(rows) <= MOST_IMAGES:
        return rows
    places = np.linspace(0, len(rows) - 1, MOST_IMAGES)
    return [rows[round(place)] for place in places]


# In a sidecar's ``training``: method, sha256 and training of what it started from.
START = "start"


def trainings(sidecar: Mapping) -> Iterator[Mapping]:
    """Yield a checkpoint's training, that of the model that it started from, and on.

    Example:
        >>> first = dict(split="fold5", dataset="bcisc")
        >>> tuned = dict(split="fold1", dataset="mine", start=dict(training=first))
        >>> [training["dataset"] for training in trainings(dict(training=tuned))]
        ['mine', 'bcisc']
    """
    while sidecar:
        training = sidecar.get("training") or {}
        yield training
        sidecar = training.get(START) or {}


def splits_learnt_from(root: Path, sidecar: Mapping) -> list[str]:
    """Return the splits of a dataset that a checkpoint was trained on, newest first.

    Empty where nothing tells: without a split, or of other datasets.
    """
    digest = read_about(root)["sha256"]
    return [
        training["split"]
        for training in trainings(sidecar)
        if training.get("split") and training.get("sha256") == digest
    ]


def learnt_cells(root: Path, sidecar: Mapping) -> set[str]:
    """Return the stems of a dataset's cells that a checkpoint was trained on."""
    return {
        stem
        for split in splits_learnt_from(root, sidecar)
        for stem, part in read_split(root, split).items()
        if part == "train"
    }


def learnt_groups(config: Config, sidecar: Mapping) -> list[str] | None:
    """Return the groups that a checkpoint was trained on, None where nothing tells.

    Args:
        config: names the dataset; of another one, the groups are not known here.
        sidecar: of the checkpoint; {} tells nothing.
    """
    root = dataset_root(cells_config(config, "test")["name"])
    return groups_learnt_from(root, sidecar)


def groups_learnt_from(root: Path, sidecar: Mapping) -> list[str] | None:
    """Return which groups of a dataset a checkpoint was trained on.

    Args:
        root: the prepared dataset.
        sidecar: of the checkpoint; {} tells nothing.

    Returns:
        None where nothing tells: without a split, or of another dataset.
    """
    if not splits_learnt_from(root, sidecar):
        return None
    learnt = learnt_cells(root, sidecar)
    return sorted({row.group for row in read_index(root) if row.stem in learnt})


def check_unseen(config: Config, sidecar: Mapping) -> None:
    """Refuse to test on cells that the checkpoint was trained on.

    Args:
        config: says what is tested.
        sidecar: of the checkpoint; {} passes.

    Raises:
        UsageError: naming the split that the checkpoint left cells out of.
    """
    cells = cells_config(config, "test")
    root = dataset_root(cells["name"])
    learnt = learnt_cells(root, sidecar)
    if not learnt or cells.get("part") == "train":
        return
    if cells.get("split"):
        parts = read_split(root, cells["split"])
        tested = {s for s, part in parts.items() if part == cells.get("part", "test")}
    else:
        tested = {row.stem for row in read_index(root) if row.kind == "cell"}
    if learnt & tested:
        raise UsageError(
            f"{len(learnt & tested)} of the {len(tested)} cells to test are cells that "
            f"the checkpoint was trained on; add --split "
            f"{splits_learnt_from(root, sidecar)[0]}"
        )


# Of a config, what a sidecar keeps under ``START``; a name that begins with _ is no
# part of the config's sha256.
KEPT = "_start"


def start_from(config: Config, name: str) -> None:
    """Make a run start from a checkpoint, all of its weights, instead of its own start.

    The encoder counts as pretrained: frozen first, then at its own learning rate.

    Args:
        config: resolved; its model gets another start.
        name: a ``.pth`` file that ``leuko train`` wrote, its sidecar beside it, or a
            model of ``leuko zoo list``.

    Raises:
        UsageError: if there is no such checkpoint, or if it is of another network.
        CheckpointError: if its sidecar is missing, damaged or of another file.
    """
    path = checkpoint_of(name)
    sidecar = read_sidecar_of(path)
    _check_network(config, path)
    # Else ImageNet's weights would be looked for, and loaded to be replaced.
    config.model.get("backbone", {}).pop("init_cfg", None)
    config.model.init_cfg = dict(type="Pretrained", checkpoint=str(path))
    # Kept now: at the end of the training the file may be gone.
    kept = {key: sidecar.get(key) for key in ("method", "sha256", "training")}
    config[KEPT] = kept


def start_of(config: Config) -> Path | None:
    """Return the checkpoint that a whole model starts from, None without one."""
    recipe = config.model.get("init_cfg") or {}
    named = recipe.get("checkpoint") if isinstance(recipe, Mapping) else None
    return Path(named) if named else None


def start_facts(config: Config) -> dict:
    """Return what a sidecar tells of the model that a training started from.

    ``{}`` without one, else ``start``: its method, its sha256 and its own training.
    """
    kept = config.get(KEPT)
    return {START: dict(kept)} if kept else {}


def check_start(config: Config) -> None:
    """Refuse a start that knows the cells on which the run is tested.

    Args:
        config: its data is there.

    Raises:
        UsageError: naming the split that the start left cells out of.
    """
    try:
        check_unseen(config, config.get(KEPT) or {})
    except UsageError as error:
        raise UsageError(f"--load-from: {start_of(config)}: {error}") from None


def _check_network(config: Config, path: Path) -> None:
    tensors = load_tensors(path)
    theirs = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    ours = {
        key: tuple(tensor.shape)
        for key, tensor in build_bare(config, device="meta").state_dict().items()
    }
    wrong = [
        f"{key} is {_said(theirs.get(key))} there and {_said(ours.get(key))} here"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key)
    ]
    if wrong:
        raise UsageError(
            f"--load-from: {path} is of another network than {config.method}, or of "
            f"other classes: {'; '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''}. Train the "
            "method that its sidecar names"
        )


def _said(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))


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
