"""Write a checkpoint as ONNX, and compare the two before anything is kept."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.model import (
    EXPORT_SUFFIX,
    INPUT,
    ONNXRUNTIME,
    OUTPUT,
    Checkpoint,
    OnnxRuntime,
    TorchRuntime,
    read_checkpoint,
    read_export,
    whole_logits,
)
from leuko_mm.inference.predictor import DIVISOR

# 17 is read by every ONNX Runtime and OpenVINO since 2023, and says all that is needed.
OPSET = 17
# No two sides alike, so that a size that is taken for fixed is noticed.
TRACED = (2, 3, 64, 96)


class _Logits(nn.Module):
    """The way from normalised pixels to logits as one call."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return whole_logits(self.model, images)


def described_tensors(sidecar: Mapping[str, Any]) -> dict:
    """Return what the input and the output of an export are, from its sidecar.

    Example:
        >>> sidecar = dict(classes=["background", "cell"], normalisation={})
        >>> about = described_tensors(sidecar)
        >>> about["input"]["shape"], about["output"]["shape"]
        (['batch', 3, 'height', 'width'], ['batch', 2, 'height', 'width'])
    """
    order = "RGB" if sidecar["normalisation"].get("bgr_to_rgb") else "BGR"
    return dict(
        input=dict(
            name=INPUT,
            type="float32",
            shape=["batch", 3, "height", "width"],
            channels=order,
            values="(pixel - mean) / std, pixels 0 to 255; see normalisation",
            multiple_of=DIVISOR,
        ),
        output=dict(
            name=OUTPUT,
            type="float32",
            shape=["batch", len(sidecar["classes"]), "height", "width"],
            values="softmax over the second axis gives probabilities, the largest "
            "entry the class id",
        ),
    )


def write_onnx(model: nn.Module, path: Path, sidecar: Mapping[str, Any]) -> None:
    """Write a segmentor for any batch and any size that is a multiple of 32.

    Batch norms are folded into the convolutions before them. What the exporter bakes in
    of the traced size is not noticed here: compare the file at other sizes.

    Args:
        model: in evaluation mode, float32, on the CPU.
        path: of the file to write.
        sidecar: of the checkpoint; says what stands in the file about its tensors.

    Raises:
        Exception: whatever the exporter raises on a network that it cannot write.
    """
    varies = {0: "batch", 2: "height", 3: "width"}
    with _quiet_exporter():
        # Not `dynamo=True`: it needs onnxscript, a beta, and took twenty times as long.
        # This one is deprecated since torch 2.9; the bound on torch in
        # requirements/base.txt keeps a version that has it.
        torch.onnx.export(
            _Logits(model).eval(),
            (torch.zeros(TRACED),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: varies, OUTPUT: varies},
        )
    _describe(path, sidecar)


def _describe(path: Path, sidecar: Mapping[str, Any]) -> None:
    """Put into the file what its tensors are, for those who have lost the sidecar."""
    onnx = importlib.import_module("onnx")
    graph = onnx.load(str(path))
    about = described_tensors(sidecar)
    graph.graph.input[0].doc_string = json.dumps(about["input"])
    graph.graph.output[0].doc_string = json.dumps(about["output"])
    onnx.helper.set_model_props(
        graph,
        {
            key: json.dumps(sidecar[key])
            for key in ("classes", "normalisation", "scale")
            if key in sidecar
        },
    )
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep away its advice, and the megabytes that it prints before an error."""
    # Its switch for the latter is turned on by the exporter itself.
    log = getattr(torch._C, "_jit_onnx_log", None)
    torch._C._jit_onnx_log = lambda *_: None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        if log is not None:
            torch._C._jit_onnx_log = log


# What an export needs; onnx writes it, and ONNX Runtime runs the comparison.
LIBRARIES = ("onnx", ONNXRUNTIME)
# Images, height, width: none of them the shape that is traced.
COMPARED = ((1, 96, 96), (2, 128, 64), (3, 64, 160))
# Largest difference of a logit, and share of the pixels that keep their class.
LIMIT, SAME_CLASS = 1e-3, 0.9999


@dataclass(frozen=True)
class Agreement:
    """How far an export and its checkpoint are apart, over all compared pixels.

    Args:
        largest: difference of a logit.
        same_class: share of the pixels.
    """

    largest: float
    same_class: float

    @property
    def holds(self) -> bool:
        """Whether the export stands for the checkpoint."""
        # Written so that a NaN does not hold.
        return self.largest <= LIMIT and self.same_class >= SAME_CLASS


def export(checkpoint: Path, out: Path, *, force: bool = False) -> Agreement:
    """Write ``out`` and its sidecar; return how well they agree with the checkpoint.

    Nothing appears before it was loaded and compared as it is.

    Args:
        checkpoint: a ``.pth`` with its sidecar.
        out: an ``.onnx`` file; the sidecar lies beside it as ``.json``.
        force: replace an export that stands there.

    Raises:
        UsageError: if a library is missing, something stands in the way, or the network
            cannot be exported.
        CheckpointError: if the checkpoint cannot be used.
        UnsafeCheckpointError: if it holds more than tensors.
    """
    out = Path(out)
    _check_place(out, force)
    _check_libraries()
    read = read_checkpoint(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        draft = Path(folder) / out.name
        agreement = _write_and_compare(read, draft)
        # The file last: with it all is there, and a sidecar alone is refused.
        for suffix in (".json", EXPORT_SUFFIX):
            os.replace(draft.with_suffix(suffix), out.with_suffix(suffix))
    return agreement


def compare(read: Checkpoint, exported: Checkpoint) -> Agreement:
    """Run a checkpoint and its export on the same images, both in float32.

    Args:
        read: what ``read_checkpoint`` returned.
        exported: what ``read_export`` returned.
    """
    own = TorchRuntime(read.model, device="cpu", float32=True)
    other = OnnxRuntime(exported)
    drawn = torch.Generator().manual_seed(0)
    largest, same, pixels = 0.0, 0, 0
    for count, height, width in COMPARED:
        # Normalised pixels lie between -2 and 2, about.
        images = torch.rand((count, 3, height, width), generator=drawn) * 4 - 2
        wanted, found = own(images), other(images)
        if wanted.shape != found.shape:
            return Agreement(float("inf"), 0.0)
        apart = (wanted - found).abs().max().item()
        largest = apart if not apart <= largest else largest
        same += (wanted.argmax(1) == found.argmax(1)).sum().item()
        pixels += count * height * width
    return Agreement(largest, same / pixels)


def _write_and_compare(read: Checkpoint, draft: Path) -> Agreement:
    sidecar = dict(read.sidecar)
    method = sidecar.get("method", "this network")
    instead = f"predict with {read.path} itself"
    try:
        write_onnx(read.model, draft, sidecar)
    # The exporter raises anything on an operation that it cannot write.
    except Exception as error:
        line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UsageError(
            f"{method} cannot be exported to ONNX ({line[:160]}); {instead}"
        ) from error
    sidecar["export"] = dict(
        format="onnx",
        opset=OPSET,
        precision="float32",
        of=sidecar["sha256"],
        torch=torch.__version__,
        **described_tensors(sidecar),
    )
    sidecar["sha256"] = sha256_of_file(draft)
    _write_json(draft, sidecar)
    try:
        agreement = compare(read, read_export(draft))
    # At another size than the traced one, ONNX Runtime raises classes of its own.
    except Exception as error:
        raise UsageError(
            f"{method} cannot be exported to ONNX: the file works at one size of image "
            f"only; {instead}"
        ) from error
    if not agreement.holds:
        raise UsageError(
            f"{method} cannot be exported to ONNX: logits of the file differ by up to "
            f"{agreement.largest:.2g} (at most {LIMIT} is allowed) and "
            f"{agreement.same_class:.2%} of the pixels keep their class; {instead}"
        )
    sidecar["export"]["compared"] = dict(
        largest_difference=agreement.largest,
        same_class=agreement.same_class,
        onnxruntime=metadata.version(ONNXRUNTIME),
    )
    _write_json(draft, sidecar)
    return agreement


def _write_json(file: Path, sidecar: dict) -> None:
    text = json.dumps(sidecar, indent=2) + "\n"
    file.with_suffix(".json").write_text(text, encoding="utf-8")


def _check_libraries() -> None:
    missing = [name for name in LIBRARIES if not find_spec(name)]
    if missing:
        raise UsageError(
            f"an export needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )


def _check_place(out: Path, force: bool) -> None:
    if out.suffix != EXPORT_SUFFIX:
        raise UsageError(f"{out}: expected a name that ends in {EXPORT_SUFFIX}")
    if out.with_suffix(".pth").exists():
        raise UsageError(
            f"{out.with_suffix('.json')} belongs to {out.with_suffix('.pth').name} and "
            f"is not replaced; choose another name or folder than {out}"
        )
    there = [p for p in (out, out.with_suffix(".json")) if p.exists()]
    if there and (not force or any(p.is_dir() for p in there)):
        raise UsageError(f"{there[0]} exists; add --force to replace it")
