"""Let a training start from a trained model (fine-tuning) instead of ImageNet's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.inference.checkpoint import read_sidecar_of
from leuko_mm.workflows.lineage import START, check_unseen
from leuko_mm.workflows.model_size import build_bare
from leuko_mm.workflows.zoo import checkpoint_of

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
