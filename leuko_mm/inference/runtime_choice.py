"""Which library runs a network's file, told without loading either."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from leuko_mm.errors import LeukoError

EXPORT_SUFFIX = ".onnx"
TORCH, ONNXRUNTIME, OPENVINO = RUNTIMES = ("torch", "onnxruntime", "openvino")
# Of an exported file, the first that is installed: OpenVINO uses bfloat16 where the
# processor multiplies it, ONNX Runtime does not.
FOR_EXPORTS = (OPENVINO, ONNXRUNTIME)


class RuntimeChoiceError(LeukoError, ValueError):
    """A runtime is not installed or cannot run this file; the message says what can."""


def choose_runtime(path: Path, wanted: str | None = None) -> str:
    """Return the name of what runs a file, without reading it.

    Args:
        path: a ``.pth`` or an exported ``.onnx``.
        wanted: one of ``RUNTIMES``; None takes torch for a ``.pth``, and of an export
            the fastest that is installed.

    Raises:
        RuntimeChoiceError: naming what runs such a file, or the pip command.

    Example:
        >>> choose_runtime(Path("net.pth"))
        'torch'
    """
    exported = Path(path).suffix == EXPORT_SUFFIX
    if wanted is not None and wanted not in RUNTIMES:
        raise RuntimeChoiceError(
            f"runtime {wanted!r} is not known; expected one of {', '.join(RUNTIMES)}"
        )
    if not exported:
        if wanted in FOR_EXPORTS:
            raise RuntimeChoiceError(
                f"{wanted} runs exported networks, and {path} is a checkpoint of "
                f"torch; export it first: leuko export {path} NAME{EXPORT_SUFFIX}"
            )
        return TORCH
    if wanted == TORCH:
        raise RuntimeChoiceError(
            f"{path} is exported, and torch runs the .pth that it was made of; "
            f"expected the runtime {' or '.join(FOR_EXPORTS)}"
        )
    there = [name for name in FOR_EXPORTS if find_spec(name)]
    if wanted is None and not there:
        raise RuntimeChoiceError(
            f"nothing that runs {path} is installed: pip install {ONNXRUNTIME}, or "
            f"pip install {OPENVINO}"
        )
    if wanted is not None and wanted not in there:
        raise RuntimeChoiceError(f"{wanted} is not installed: pip install {wanted}")
    return wanted or there[0]
