"""From a ``.pth`` file of tensors and its JSON sidecar to a model that can predict."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.registry import DefaultScope
from torch import nn

from leuko_mm.engine.part_names import foreign_parts
from leuko_mm.engine.safe_load import (
    UnsafeCheckpointError,
    check_kinds,
    load_tensors,
)
from leuko_mm.errors import LeukoError
from leuko_mm.files import sha256_of_file
from leuko_mm.registry import MODELS, SCOPE

SCHEMA = 1
NEEDED = ("config", "classes", "colours", "scale", "normalisation", "sha256")
# A prepared cell image's side in pixels, where a sidecar does not tell.
PREPARED_PX = 256


class CheckpointError(LeukoError, ValueError):
    """A checkpoint and its sidecar do not fit each other, or this version."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model that was read from a file, and what it knows about itself.

    Args:
        path: of the tensors.
        sidecar: what stands beside them.
        model: in evaluation mode, on the CPU, float32; None for an exported network,
            which no module of torch stands for.
    """

    path: Path
    sidecar: Mapping[str, Any]
    model: nn.Module | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id, background first."""
        return tuple(self.sidecar["classes"])

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """RGB by class id."""
        return tuple(tuple(colour) for colour in self.sidecar["colours"])

    @property
    def cell_px(self) -> float | None:
        """The side that one prepared cell image has when the network sees it."""
        return self.sidecar["scale"].get("cell_px")

    @property
    def rbc_px(self) -> float | None:
        """Diameter of a red cell when the network sees it, None if not known."""
        return self.sidecar["scale"].get("rbc_px")

    @property
    def px_per_um(self) -> float | None:
        """Pixels per um when the network sees them, None if not known."""
        return self.sidecar["scale"].get("px_per_um")

    @property
    def prepared_px(self) -> float:
        """The side of a prepared cell image, at whose scale enhancements work."""
        return self.sidecar["scale"].get("prepared_px") or PREPARED_PX


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; nothing in its two files can run.

    Args:
        path: a ``.pth`` file; its sidecar lies beside it as ``.json``.

    Raises:
        CheckpointError: if a file is missing or of another make, or if tensors,
            classes and config do not fit one another.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    path = Path(path).expanduser()
    sidecar = read_sidecar_of(path)
    model = build_model(path, sidecar)
    tensors = load_tensors(path)
    tensors = tensors.get("state_dict", tensors)
    check_kinds(model, tensors, file=path)
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise CheckpointError(
            f"{path} does not fit the config in its sidecar: {' '.join(lines)[:300]}; "
            "take the two files from one training"
        ) from None
    return Checkpoint(path, sidecar, model.eval().requires_grad_(False))


def read_sidecar_of(path: Path) -> dict:
    """Return the checked sidecar of a checkpoint.

    Raises:
        CheckpointError: if it is missing, damaged, or describes another file.
    """
    place = path.with_suffix(".json")
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {path} does not exist; `leuko train cbam_unet` makes one"
        )
    if not place.is_file():
        raise CheckpointError(
            f"{path} has no sidecar {place.name}: nothing tells its classes, scale and "
            "model. `leuko train` writes both; keep them together"
        )
    try:
        sidecar = json.loads(place.read_text(encoding="utf-8"))
        missing = [key for key in NEEDED if key not in sidecar]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{place} is damaged ({error})") from None
    if missing or not isinstance(sidecar, dict) or sidecar.get("schema") != SCHEMA:
        lack = f"it has no {', '.join(missing)}" if missing else "another schema"
        raise CheckpointError(
            f"{place} is no sidecar of schema {SCHEMA} ({lack}); expected the one that "
            "`leuko train` wrote"
        )
    digest = sha256_of_file(path)
    if digest != sidecar["sha256"]:
        raise CheckpointError(
            f"{path} is not the file that {place.name} describes: its sha256 is "
            f"{digest[:12]}..., expected {str(sidecar['sha256'])[:12]}...; fetch or "
            "copy both again"
        )
    try:
        _check_classes(place, sidecar)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(f"{place} is damaged ({error})") from None
    return sidecar


def _check_classes(place: Path, sidecar: dict) -> None:
    config, classes = sidecar["config"], sidecar["classes"]
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{place}: its config names no model")
    head = config["model"].get("decode_head")
    head = head[-1] if isinstance(head, list) and head else head
    outputs = head.get("num_classes") if isinstance(head, dict) else None
    told = dict(
        config=config.get("classes"),
        colours=len(sidecar["colours"]),
        num_classes=outputs,
    )
    fits = dict(config=classes, colours=len(classes), num_classes=len(classes))
    wrong = {key: told[key] for key in told if told[key] != fits[key]}
    if wrong:
        raise CheckpointError(
            f"{place}: {wrong} does not fit its {len(classes)} classes {classes}"
        )
    preprocessor = config["model"].get("data_preprocessor") or {}
    for key, value in sidecar["normalisation"].items():
        if preprocessor.get(key) != value:
            raise CheckpointError(
                f"{place}: normalisation {key} {value}, but its config has "
                f"{preprocessor.get(key)}"
            )


def build_model(path: Path, sidecar: Mapping) -> nn.Module:
    """Return the model that a sidecar describes, with weights drawn at random.

    Raises:
        CheckpointError: if a part is none of the registered ones, or refuses what
            the config gives it.
    """
    recipe = _without_weights(copy.deepcopy(sidecar["config"]["model"]))
    for name in foreign_parts(recipe):
        raise CheckpointError(
            f"{path}: its config asks for the part {name!r}; expected the name of a "
            "registered part such as 'leuko_mm.VGG'"
        )
    try:
        with DefaultScope.overwrite_default_scope(SCOPE):
            return MODELS.build(recipe)
    except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            f"{path}: the model of its sidecar cannot be built ({error}); it was "
            "written by another version, or a plug-in is missing"
        ) from error


def _without_weights(node: Any) -> Any:
    """Drop what would read other files: the checkpoint brings every weight."""
    if isinstance(node, dict):
        kept = {k: v for k, v in node.items() if k not in ("init_cfg", "pretrained")}
        return {key: _without_weights(value) for key, value in kept.items()}
    return [_without_weights(v) for v in node] if isinstance(node, list) else node


__all__ = ["Checkpoint", "CheckpointError", "UnsafeCheckpointError", "read_checkpoint"]
