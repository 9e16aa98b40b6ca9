"""What a checkpoint has learnt from: its training, and those that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config

from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import read_about, read_index, read_split
from leuko_mm.errors import UsageError
from leuko_mm.workflows.preflight import cells_config

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
