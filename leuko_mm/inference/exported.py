"""Networks exported to ONNX: their sidecar, and what is refused of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leuko_mm.inference.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    read_sidecar_of,
)
from leuko_mm.inference.runtime_choice import EXPORT_SUFFIX

# Names of the two tensors in the file.
INPUT, OUTPUT = "image", "logits"
# What `export` in the sidecar holds, besides what describes input and output.
TOLD = ("format", "opset", "precision")


def read_model(path: str | Path) -> Checkpoint:
    """Read a checkpoint or an export, whichever it is.

    Args:
        path: a ``.pth``, or an ``.onnx`` of ``leuko export``; its sidecar lies beside
            it as ``.json``.

    Raises:
        CheckpointError: as ``read_checkpoint`` and ``read_export``.
        UnsafeCheckpointError: if a ``.pth`` holds more than tensors.
    """
    path = Path(path).expanduser()
    return read_export(path) if path.suffix == EXPORT_SUFFIX else read_checkpoint(path)


def read_export(path: Path) -> Checkpoint:
    """Return what an export knows about itself; its ``model`` is None.

    Raises:
        CheckpointError: if a file is missing, the two do not fit each other, or the
            sidecar is not that of an export.
    """
    for needed in (path, path.with_suffix(".json")):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} does not exist; `leuko export` writes an .onnx and the "
                ".json beside it: keep them together"
            )
    sidecar = read_sidecar_of(path)
    told = sidecar.get("export")
    if not isinstance(told, dict) or any(key not in told for key in TOLD):
        raise CheckpointError(
            f"{path.with_suffix('.json')} is no sidecar of an export: expected "
            f"`export` with {', '.join(TOLD)}; write both files again with leuko export"
        )
    return Checkpoint(path, sidecar, None)


def check_outputs(
    checkpoint: Checkpoint, inputs: Sequence[str], output: Sequence[int | str | None]
) -> None:
    """Refuse a file whose tensors are not those that its sidecar promises.

    Args:
        checkpoint: of an export.
        inputs: names of the file's inputs.
        output: sides of its first output; those that vary are no numbers.

    Raises:
        CheckpointError: naming what differs.
    """
    classes = len(checkpoint.classes)
    # A single logit stands for leukocyte against background.
    channels = {classes, 1} if classes == 2 else {classes}
    told = output[1] if len(output) == 4 else None
    if list(inputs) != [INPUT] or (isinstance(told, int) and told not in channels):
        raise CheckpointError(
            f"{checkpoint.path} takes {list(inputs)} and gives {list(output)}; its "
            f"sidecar promises ['{INPUT}'] and logits of {classes} classes: take both "
            "files from one export"
        )
