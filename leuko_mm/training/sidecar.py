"""The JSON file beside a checkpoint: what it is, and what it was trained on."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.joined import (
    WITHOUT,
    Source,
    common_red_cell,
    digest_of_parts,
    measured_red_cell,
    read_parts,
    read_sources,
)
from leuko_mm.datasets.prepared import NOT_STATED, DatasetError, cell_rows, read_about
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.inference.model import read_sidecar_of
from leuko_mm.models.size import build_bare
from leuko_mm.training.config import cells_config
from leuko_mm.training.custom_imports import IMPORTED
from leuko_mm.zoo.entries import checkpoint_of

LOGGER = logging.getLogger("leuko_mm")
# What the data preprocessor does to the values of a pixel.
NORMALISATION = ("mean", "std", "bgr_to_rgb")
# In a sidecar's ``training``: method, sha256, training and licence of the model that it
# started from. A config keeps it under a name with _, which is no part of its sha256.
START, START_KEY = "start", "_start"


def sidecar_of(config: Config, results: Mapping, metainfo: Mapping) -> dict:
    """Return what a checkpoint needs to be used without its config.

    ``results`` is the content of ``results.json``, ``metainfo`` has the dataset's
    classes and palette.
    """
    classes = list(metainfo["classes"])
    preprocessor = config.model.data_preprocessor.to_dict()
    size, n = results["data"]["size"], (results["data"]["mosaic"] or {}).get("n", 1)
    # The side that one prepared cell image has when the network sees it.
    cell_px = size // n if size else None
    named = ("dataset", "sha256", "split_sha256", "datasets")
    training = dict(
        **{key: results["data"][key] for key in named if key in results["data"]},
        split=results["run"]["split"],
        seed=results["run"]["seed"],
        iterations=results["run"]["iterations"],
        git=results["run"]["git"],
    )
    if config.get(IMPORTED):
        training["imported"] = dict(config[IMPORTED])
    if START_KEY in config:
        training[START] = dict(config[START_KEY])
    rbc_px = None
    # The training is done; a file that broke meanwhile must not lose it.
    with contextlib.suppress(DatasetError):
        rbc_px = trained_red_cell(config, cell_px=cell_px)
    return dict(
        method=config.method,
        config=dict(
            classes=classes,
            model=config.model.to_dict(),
            data_preprocessor=preprocessor,
        ),
        classes=classes,
        colours=[list(c) for c in metainfo["palette"]],
        scale=dict(px_per_um=None, rbc_px=rbc_px, cell_px=cell_px),
        enhance=results["data"]["enhance"],
        normalisation={key: preprocessor.get(key) for key in NORMALISATION},
        training=training,
        metrics=results["metrics"],
        licence=licence_of(config),
    )


def licence_of(config: Config) -> str:
    """Return the licences of all that a checkpoint was trained on, each once.

    Those of the datasets of its training cells and of the checkpoint that it started
    from; ImageNet's weights of an encoder do not count.
    """
    with contextlib.suppress(DatasetError):
        sources = _trained_sources(config)
        stated = [source.about.get("licence") or NOT_STATED for source in sources]
        if START_KEY in config:
            stated.append(config[START_KEY].get("licence") or NOT_STATED)
        return " and ".join(dict.fromkeys(stated))
    return NOT_STATED


def _trained_sources(config: Config) -> list[Source]:
    sources = read_sources(cells_config(config, "train"))
    # A joined dataset that is left out is not trained on.
    return [source for source in sources if not source.joined or source.of("train")]


def trained_red_cell(config: Config, *, cell_px: float | None) -> float | None:
    """Return the diameter in pixels of a red cell when the network sees it.

    The one that the training's dataset brings all cells to, or that of its first
    prepared dataset; None where too few are seen.
    """
    if fixed := config.train_dataloader.dataset.get("red_cell"):
        return fixed
    given = config.train_dataloader.dataset.get("red_cell_px")
    sources = read_sources(cells_config(config, "train"))
    if given is not None and sources[0].joined and cell_px:
        return round(common_red_cell(sources[0], given, cell_px=cell_px), 2)
    first = _trained_sources(config)[0]
    return measured_red_cell(first.root, first.of("train"), cell_px=cell_px)


def read_sidecar(path: Path) -> dict:
    """Return the sidecar of a checkpoint, {} without one; refuse another file's."""
    return read_sidecar_of(path) if path.with_suffix(".json").is_file() else {}


def check_sidecar(path: Path, sidecar: dict, config: Config, metainfo: Mapping) -> None:
    """Refuse a checkpoint that was made for other classes or other images.

    Warn of code that ``custom_imports`` brings and that has changed since.

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
    trained = (sidecar.get("training") or {}).get("imported") or {}
    changed = {
        name
        for name, digest in (config.get(IMPORTED) or {}).items()
        if trained.get(name, digest) != digest
    }
    if changed:
        LOGGER.warning(
            "%s was trained with another version of %s than the one that is tested",
            path,
            ", ".join(sorted(changed)),
        )


def _trainings(sidecar: Mapping) -> Iterator[tuple[str | None, str | None, Mapping]]:
    """Yield split and dataset of all trainings, with the name of a joined dataset.

    The newest first, down to those of the models that the checkpoint started from.
    """
    while sidecar:
        training = sidecar.get("training") or {}
        for one in training.get("datasets") or [training]:
            yield training.get("split"), one.get("name"), one
        sidecar = training.get(START) or {}


def _trainings_on(root: Path, sidecar: Mapping) -> list[tuple]:
    digest = read_about(root)["sha256"]
    every = _trainings(sidecar)
    return [found for found in every if found[0] and found[2].get("sha256") == digest]


def training_splits(root: Path, sidecar: Mapping) -> list[str]:
    """Return the splits of a dataset that a checkpoint was trained on, newest first."""
    return [split for split, *_ in _trainings_on(root, sidecar)]


def training_cells(root: Path, sidecar: Mapping) -> set[str]:
    """Return the stems of a dataset's cells that a checkpoint was trained on.

    Raises:
        UsageError: if a split that it was trained on is gone, or divides the cells in
            another way now.
    """
    trained: set[str] = set()
    for split, name, dataset in _trainings_on(root, sidecar):
        what = f"the checkpoint was trained on the split {split!r} of {root}, which"
        unknown = "so nothing tells which cells it was trained on; restore the split"
        try:
            parts = read_parts(root, split, joined_as=name)
        except DatasetError as error:
            raise UsageError(f"{what} cannot be read, {unknown} ({error})") from None
        if dataset.get("split_sha256") not in (None, digest_of_parts(parts)):
            raise UsageError(f"{what} was dealt again since then, {unknown}")
        trained |= {stem for stem, part in parts.items() if part == "train"}
    return trained


def _was_prepared_again(source: Source, sidecar: Mapping) -> bool:
    """Tell whether a checkpoint saw another version of a dataset, by its name."""
    return any(
        source.name == (name or dataset.get("dataset"))
        and source.about["sha256"] != dataset.get("sha256")
        for _, name, dataset in _trainings(sidecar)
    )


def training_groups(root: Path, sidecar: Mapping) -> list[str] | None:
    """Return which groups of a dataset a checkpoint was trained on; None: unknown."""
    if not training_splits(root, sidecar):
        return None
    trained = training_cells(root, sidecar)
    return sorted(
        {row.group for row in cell_rows(root, other=True) if row.stem in trained}
    )


def recorded_groups(sources: Sequence[Source], sidecar: Mapping) -> list[str] | None:
    """Return ``training_groups`` of all datasets of a test, as results name them."""
    found = [(source, training_groups(source.root, sidecar)) for source in sources]
    if all(groups is None for _, groups in found):
        return None
    return sorted(s.recorded(group) for s, groups in found for group in groups or ())


def check_unseen(config: Config, sidecar: Mapping) -> None:
    """Refuse to test on cells that the checkpoint was trained on.

    Where a dataset was prepared again, it can only be said that nothing tells them.

    Raises:
        UsageError: naming the split that the checkpoint left cells out of.
    """
    cells = cells_config(config, "test")
    if cells.get("part") == "train":
        return
    seen, count, advice = 0, 0, ""
    for source in read_sources(cells):
        if _was_prepared_again(source, sidecar):
            LOGGER.warning(
                "the checkpoint was trained on another version of %s than %s holds: "
                "nothing tells which of its cells it was trained on, and the scores "
                "may be of those",
                source.name,
                source.root,
            )
        trained = training_cells(source.root, sidecar)
        tested = {row.stem for row in source.of(cells.get("part", "test"))}
        count += len(tested)
        if trained & tested:
            seen += len(trained & tested)
            split = training_splits(source.root, sidecar)[0]
            advice = f"add --split {split}"
            if split.startswith(WITHOUT) and not source.joined:
                left_out = split.removeprefix(WITHOUT)
                advice = f"test it on what it left out: --data {left_out} --split all"
    if seen:
        raise UsageError(
            f"{seen} of the {count} cells to test are cells that the checkpoint was "
            f"trained on; {advice}"
        )


def start_from(config: Config, name: str) -> None:
    """Let a run start from all the weights of a checkpoint, in place of its own start.

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
    config.model.get("backbone", {}).pop("init_cfg", None)
    config.model.init_cfg = dict(type="Pretrained", checkpoint=str(path))
    # It would be loaded after the weights of this start.
    config.pop("load_from", None)
    config[START_KEY] = _kept(sidecar)


def _kept(sidecar: Mapping) -> dict:
    # Kept from the start: at the end of the training the file may be gone.
    return {
        key: sidecar.get(key) for key in ("method", "sha256", "training", "licence")
    }


def start_of(config: Config) -> Path | None:
    """Return the checkpoint that a whole model starts from, None without one."""
    init_cfg = config.model.get("init_cfg") or {}
    named = init_cfg.get("checkpoint") if isinstance(init_cfg, Mapping) else None
    return Path(named) if named else None


def check_start(config: Config) -> None:
    """Refuse a start that was trained on the cells on which the run is tested.

    It is that of ``--load-from``, or what a config names itself.
    """
    key, path = "--load-from", start_of(config)
    if given := config.get("load_from"):
        key, path = "load_from", Path(given)
    elif START_KEY not in config:
        key = "init_cfg"
    if path is None:
        return
    if key != "--load-from":
        if not (sidecar := read_sidecar(path)):
            LOGGER.warning(
                "%s: %s has no sidecar (%s): nothing tells which cells it was trained "
                "on, and the scores may be of those",
                key,
                path,
                path.with_suffix(".json").name,
            )
            return
        config[START_KEY] = _kept(sidecar)
    try:
        check_unseen(config, config[START_KEY])
    except UsageError as error:
        raise UsageError(f"{key}: {path}: {error}") from None


def _check_network(config: Config, path: Path) -> None:
    network = build_bare(config, device="meta")
    try:
        network.load_state_dict(load_tensors(path), assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise UsageError(
            f"--load-from: {path} is of another network than {config.method}, or of "
            f"other classes: {' '.join(lines)[:400]}. Train the method that its "
            "sidecar names"
        ) from None
