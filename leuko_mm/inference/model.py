"""A network's file: the shipped one, and the sidecar beside it."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import leuko_mm
from leuko_mm.errors import LeukoError
from leuko_mm.files import printable, read_any_json, sha256_of_file
from leuko_mm.plugins import unregistered_types

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_MODEL = "cbam_unet_compact"
# Configs that choose their own data and schedule.
RECIPES = (DEFAULT_MODEL, "cell_classes", "quickstart")

EXPORT_SUFFIX = ".onnx"
TORCH, ONNXRUNTIME = "torch", "onnxruntime"

SCHEMA = 1
SIDECAR_KEYS = ("config", "classes", "colours", "scale", "normalisation", "sha256")
EXPORT_KEYS = ("format", "opset", "precision")
# A prepared cell image's side in pixels, where a sidecar does not name it.
PREPARED_PX = 256


class NotShippedError(LeukoError, ValueError):
    """The package carries no such checkpoint; the message says how to make one."""


class CheckpointError(LeukoError, ValueError):
    """A checkpoint and its sidecar do not fit each other, or this version."""


def shipped_folder() -> Path:
    """Return the folder of the package that holds its checkpoints."""
    return Path(leuko_mm.__file__).parent / "zoo"


def shipped_names() -> list[str]:
    """Return the names of the checkpoints that the package carries."""
    return sorted(
        path.stem
        for path in shipped_folder().glob("*.pth")
        if path.with_suffix(".json").is_file()
    )


def shipped_checkpoint(name: str = DEFAULT_MODEL) -> Path:
    """Return a checkpoint of the package by its name in ``leuko zoo list``."""
    if name in (names := shipped_names()):
        return shipped_folder() / f"{name}.pth"
    raise NotShippedError(
        f"this package carries no checkpoint {name!r} (it carries: "
        f"{', '.join(names) or 'none yet'}). If it is one of `leuko zoo list`, train "
        f"it,\n    {training_command(name)}\nand give that file as the checkpoint"
    )


def shipped_model(
    name: str = DEFAULT_MODEL, *, device: str | None = None, runtime: str | None = None
) -> Path:
    """Return the file of a shipped network that a device and a runtime can run.

    It is the export, which needs no torch. With ``runtime="torch"`` or a GPU it is the
    checkpoint.

    Args:
        name: of the checkpoint.
        device, runtime: as for ``Predictor``.
    """
    checkpoint = shipped_checkpoint(name)
    if runtime is None:
        on_gpu = _gpu_is_there() if device is None else device != "cpu"
        runtime = TORCH if on_gpu else ONNXRUNTIME
    export = checkpoint.parent / "onnx" / f"{name}{EXPORT_SUFFIX}"
    return checkpoint if runtime == TORCH else export


def _gpu_is_there() -> bool:
    # Asking torch would take seconds to import it.
    return bool(find_spec("torch") and shutil.which("nvidia-smi"))


def training_command(method: str) -> str:
    """Return the command that trains a method as its published checkpoint is."""
    protocol = "" if method in RECIPES else " --protocol half"
    return f"leuko train {method}{protocol} --split fold5"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model that was read from a file, and what its sidecar says.

    Args:
        sidecar: content of the JSON file beside the network's.
        model: in evaluation mode, on the CPU, float32; None for an exported network.
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
        """Side in network pixels of one prepared cell image, None if not known."""
        return self.sidecar["scale"].get("cell_px")

    @property
    def rbc_px(self) -> float | None:
        """Diameter of a red cell in network pixels, None if not known."""
        return self.sidecar["scale"].get("rbc_px")

    @property
    def px_per_um(self) -> float | None:
        """Network pixels per um, None if not known."""
        return self.sidecar["scale"].get("px_per_um")

    @property
    def enhance(self) -> Mapping[str, Any] | None:
        """Config of the enhancement of the training, None without one."""
        return self.sidecar.get("enhance")

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Return RGB pixels (..., 3) as the network takes them, float32."""
        about = self.sidecar["normalisation"]
        mean, std = (
            np.float32(about.get(key) or [usual] * 3)
            for key, usual in (("mean", 0), ("std", 1))
        )
        # Training reads BGR; a network whose input was not turned to RGB expects BGR.
        ordered = pixels if about.get("bgr_to_rgb") else pixels[..., ::-1]
        return (ordered.astype(np.float32) - mean) / std

    @property
    def prepared_px(self) -> float:
        """The side of a prepared cell image, the scale at which enhancements work."""
        return self.sidecar["scale"].get("prepared_px") or PREPARED_PX


def read_model(path: str | Path) -> Checkpoint:
    """Read a ``.pth`` by ``read_checkpoint`` or an ``.onnx`` by ``read_export``."""
    path = Path(path).expanduser()
    return read_export(path) if path.suffix == EXPORT_SUFFIX else read_checkpoint(path)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth`` with its ``.json``; nothing in the two files can run.

    Raises:
        CheckpointError: if a file is missing or of another format, or if tensors,
            classes and config do not fit one another.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    path = Path(path).expanduser()
    sidecar = read_sidecar_of(path)
    from leuko_mm.stack import require_stack

    require_stack()
    from leuko_mm.engine.checkpoints import check_kinds, load_tensors

    tensors = load_tensors(path)
    tensors = tensors.get("state_dict", tensors)
    _check_size(path, sidecar, tensors)
    model = build_model(path, sidecar)
    _check_inference(path, model)
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


def _check_inference(path: Path, model: nn.Module) -> None:
    """Refuse a segmentor with an ``inference`` that would not be used here."""
    owner = next((c for c in type(model).__mro__ if "inference" in vars(c)), None)
    if owner and owner.__module__.partition(".")[0] not in ("mmseg", "leuko_mm"):
        raise CheckpointError(
            f"{path}: its {type(model).__name__} has an `inference` of its own, which "
            "is not used here: images are cut into tiles, and the logits of "
            "`encode_decode` count. Change that method instead, and train again"
        )


def read_export(path: Path) -> Checkpoint:
    """Read the sidecar of an ``.onnx`` of ``leuko export``.

    Raises:
        CheckpointError: if a file is missing, or the two do not fit each other.
    """
    place = path.with_suffix(".json")
    for needed in (path, place):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} does not exist; `leuko export` writes an .onnx and the "
                ".json beside it: keep them together"
            )
    sidecar = read_sidecar_of(path)
    about = sidecar.get("export")
    if not isinstance(about, dict) or any(key not in about for key in EXPORT_KEYS):
        raise CheckpointError(
            f"{place} is no sidecar of an export: expected `export` with "
            f"{', '.join(EXPORT_KEYS)}; write both files again with leuko export"
        )
    return Checkpoint(path, sidecar, None)


def read_sidecar_of(path: Path) -> dict:
    """Return the sidecar of a checkpoint, which exists and describes that file."""
    place = path.with_suffix(".json")
    if path.is_dir():
        raise CheckpointError(f"checkpoint {path} is a folder; name the .pth in it")
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {path} does not exist; `leuko train cbam_unet` makes one"
        )
    if not place.is_file():
        raise CheckpointError(
            f"{path} has no sidecar {place.name}, which names its classes, scale and "
            "model. `leuko train` writes both; keep them together"
        )
    try:
        sidecar = read_any_json(place)
        missing = [key for key in SIDECAR_KEYS if key not in sidecar]
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{place} is damaged ({error})") from None
    schema = sidecar.get("schema") if isinstance(sidecar, dict) else None
    if missing or schema != SCHEMA:
        lack = f"it has no {', '.join(missing)}" if missing else f"schema {schema!r}"
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
        _check_types(place, sidecar)
        _check_classes(place, sidecar)
        wrong = [key for key, fits in _values(sidecar) if not fits]
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{place} is damaged ({error})") from None
    if wrong:
        raise CheckpointError(
            f"{place} is damaged: nothing can be computed with its {', '.join(wrong)}; "
            "take both files from one training"
        )
    return sidecar


def _check_types(place: Path, sidecar: Mapping) -> None:
    """Refuse a name that is no registered part: mmengine would call any function."""
    config = sidecar["config"]
    recipe = config.get("model") if isinstance(config, Mapping) else None
    for name in unregistered_types([_without_weights(recipe), sidecar.get("enhance")]):
        raise CheckpointError(
            f"{place} asks for the part {name!r}; expected the name of a registered "
            "part such as 'leuko_mm.VGG'"
        )


def _values(sidecar: Mapping) -> Iterator[tuple[str, bool]]:
    """Yield the keys of a sidecar, and whether their values are of a kind to use."""
    scale, pixels = sidecar["scale"], sidecar["normalisation"]
    names, enhance = sidecar["classes"], sidecar.get("enhance")
    texts = [sidecar.get(key) or "" for key in ("method", "licence")] + list(names)
    yield "texts", all(isinstance(t, str) and t == printable(t) for t in texts)
    yield "classes", len(set(names)) == len(names) < 255 and all(names)
    yield "colours", all(_numbers(colour, 3, 0, 255) for colour in sidecar["colours"])
    for key in ("cell_px", "rbc_px", "px_per_um", "prepared_px"):
        yield f"scale.{key}", scale.get(key) is None or _numbers([scale[key]], 1, 1e-3)
    for key, least in (("mean", -1e5), ("std", 1e-3)):
        given = pixels.get(key)
        yield f"normalisation.{key}", given is None or _numbers(given, 3, least)
    yield "accept", _numbers([sidecar.get("accept", 0)], 1, 0, 1)
    yield "enhance", enhance is None or bool(isinstance(enhance, dict) and enhance)
    for key in ("training", "metrics"):
        yield key, isinstance(sidecar.get(key) or {}, Mapping)


def _numbers(values: Any, count: int, least: float, most: float = 1e5) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) in (int, float) and least <= v <= most for v in values)
    )


def _check_classes(place: Path, sidecar: dict) -> None:
    config, classes = sidecar["config"], sidecar["classes"]
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{place}: its config names no model")
    head = config["model"].get("decode_head")
    head = head[-1] if isinstance(head, list) and head else head
    found = dict(
        config=config.get("classes"),
        colours=len(sidecar["colours"]),
        num_classes=head.get("num_classes") if isinstance(head, dict) else None,
    )
    expected = dict(config=classes, colours=len(classes), num_classes=len(classes))
    wrong = {key: found[key] for key in found if found[key] != expected[key]}
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


def _check_size(path: Path, sidecar: Mapping, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a network that is larger than its file, before it takes the memory."""
    import torch

    try:
        with torch.device("meta"):
            network = build_model(path, sidecar).state_dict().values()
    except CheckpointError as error:
        if isinstance(error.__cause__, (NotImplementedError, RuntimeError)):
            return  # it needs values while it is built
        raise
    wanted, there = (
        sum(each.numel() for each in some if hasattr(each, "numel"))
        for some in (network, tensors.values())
    )
    if wanted > 2 * there:
        raise CheckpointError(
            f"{path} does not fit the config in its sidecar: that is a network of "
            f"{wanted} numbers, and the file has {there}; take the two files from one "
            "training"
        )


def build_model(path: Path, sidecar: Mapping) -> nn.Module:
    """Return the model that a sidecar describes, with random weights."""
    # First: it checks that the libraries below fit together.
    from leuko_mm.registry import MODELS, SCOPE  # isort: skip
    from mmengine.registry import DefaultScope

    recipe = _without_weights(sidecar["config"]["model"])
    try:
        recipe = _without_lost_losses(recipe, MODELS)
        with DefaultScope.overwrite_default_scope(SCOPE):
            return MODELS.build(recipe)
    # Of whatever values are there.
    except Exception as error:
        training = sidecar.get("training") or {}
        files = ", ".join(training.get("imported") or {})
        cause = "it was written by another version, or a plug-in is missing"
        if files:
            cause = (
                f"it was trained with {files}, which custom_imports brought: install "
                "that as a plug-in (docs/add_a_part.md, 'A package of your own')"
            )
        raise CheckpointError(
            f"{path}: the model of its sidecar cannot be built ({error}); {cause}"
        ) from error


def _without_weights(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {k: v for k, v in node.items() if k not in ("init_cfg", "pretrained")}
        return {key: _without_weights(value) for key, value in kept.items()}
    return [_without_weights(v) for v in node] if isinstance(node, list) else node


def _without_lost_losses(node: Any, known: Container) -> Any:
    """Leave out losses that are registered nowhere: a network answers without them."""
    if isinstance(node, Mapping):
        losses = node.get("loss_decode") or []
        losses = [losses] if isinstance(losses, Mapping) else losses
        types = [loss.get("type") for loss in losses if isinstance(loss, Mapping)]
        lost = any(isinstance(name, str) and name not in known for name in types)
        return {
            key: _without_lost_losses(value, known)
            for key, value in node.items()
            if not (lost and key == "loss_decode")
        }
    if isinstance(node, list):
        return [_without_lost_losses(value, known) for value in node]
    return node
