"""Write a checkpoint as ONNX, and compare the two before anything is kept."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of_file, write_text
from leuko_mm.inference.classify import classifier_of
from leuko_mm.inference.model import (
    EXPORT_SUFFIX,
    ONNXRUNTIME,
    Checkpoint,
    read_checkpoint,
    read_export,
)
from leuko_mm.inference.predictor import DIVISOR
from leuko_mm.inference.runtimes import (
    INPUT,
    OUTPUT,
    OnnxRuntime,
    TorchRuntime,
    whole_logits,
)

if TYPE_CHECKING:
    import onnx
    from torch import nn

# onnx writes the export, ONNX Runtime runs the comparison.
LIBRARIES = ("onnx", ONNXRUNTIME)
# Every ONNX Runtime and OpenVINO since 2023 reads 17; it has every operation needed.
OPSET = 17
# What follows the name of an export in that of its class network.
CLASSES = "-classes"
# No two sides alike, so that a size that is taken for fixed is noticed.
TRACED = (2, 3, 64, 96)
# Images, height, width: none of them the shape that is traced.
COMPARED = ((1, 96, 96), (2, 128, 64), (3, 64, 160))
# Numbers of a tensor up to which float16 saves nothing.
SMALL = 256
# Largest difference of a logit, and share of the pixels that keep their class.
LIMIT, SAME_CLASS = 1e-3, 0.9999


class Agreement(NamedTuple):
    """How far an export and its checkpoint are apart: a logit, share of the pixels."""

    largest: float
    same_class: float

    @property
    def holds(self) -> bool:
        """Whether the export may replace the checkpoint; never for a NaN."""
        return self.largest <= LIMIT and self.same_class >= SAME_CLASS


def export(
    checkpoint: Path, out: Path, *, classes: Path | None = None, force: bool = False
) -> Agreement:
    """Write ``out`` and its sidecar; return how well they agree with the checkpoint.

    Nothing appears before it was loaded and compared.

    Args:
        checkpoint: a ``.pth`` with its sidecar.
        out: the ``.onnx`` to write.
        classes: the export of the checkpoint's class network, beside ``out``; None
            writes it first, as ``<out>-classes.onnx``.
        force: replace what is there.

    Raises:
        UsageError: if a library is missing, ``out`` cannot be written, or the network
            cannot be exported.
        CheckpointError: if the checkpoint cannot be used.
        UnsafeCheckpointError: if it holds more than tensors.
    """
    out = Path(out)
    _check_place(out, force)
    missing = [name for name in LIBRARIES if not find_spec(name)]
    if missing:
        raise UsageError(
            f"an export needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    if Path(checkpoint).suffix == EXPORT_SUFFIX:
        raise UsageError(f"{checkpoint} is an export; give the .pth it was made of")
    read = read_checkpoint(checkpoint)
    changes = {}
    if names := classifier_of(read.path):
        if classes is None:
            classes = out.with_name(f"{out.stem}{CLASSES}{EXPORT_SUFFIX}")
            export(names, classes, force=force)
        changes = dict(classifier=classes.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        draft = Path(folder) / out.name
        agreement = _write_and_compare(read, draft, changes)
        # The file last: a sidecar alone is refused.
        for suffix in (".json", EXPORT_SUFFIX):
            os.replace(draft.with_suffix(suffix), out.with_suffix(suffix))
    return agreement


def _check_place(out: Path, force: bool) -> None:
    if out.suffix != EXPORT_SUFFIX:
        raise UsageError(f"{out}: expected a name that ends in {EXPORT_SUFFIX}")
    if out.with_suffix(".pth").exists():
        raise UsageError(
            f"{out.with_suffix('.json')} belongs to {out.with_suffix('.pth').name} and "
            f"is not replaced; choose another name or folder than {out}"
        )
    for existing in (p for p in (out, out.with_suffix(".json")) if p.exists()):
        if existing.is_dir():
            raise UsageError(f"{existing} is a folder; choose another name")
        if not force:
            raise UsageError(f"{existing} exists; add --force to replace it")


def _write_and_compare(
    read: Checkpoint, draft: Path, changes: Mapping[str, str]
) -> Agreement:
    import torch

    sidecar = {**read.sidecar, **changes}
    refused = f"{sidecar.get('method', 'this network')} cannot be exported to ONNX"
    instead = f"predict with {read.path} itself"
    try:
        write_onnx(read.model, draft, sidecar)
    # The exporter raises anything on an operation that it cannot write.
    except Exception as error:
        line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UsageError(f"{refused} ({line[:160]}); {instead}") from error
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
            f"{refused}: the file works at one size of image only; {instead}"
        ) from error
    if not agreement.holds:
        raise UsageError(
            f"{refused}: logits of the file differ by up to {agreement.largest:.2g} "
            f"(at most {LIMIT} is allowed) and {agreement.same_class:.2%} of the "
            f"pixels keep their class; {instead}"
        )
    sidecar["export"]["compared"] = dict(
        largest_difference=agreement.largest,
        same_class=agreement.same_class,
        onnxruntime=metadata.version(ONNXRUNTIME),
    )
    _write_json(draft, sidecar)
    return agreement


def _write_json(file: Path, sidecar: dict) -> None:
    write_text(file.with_suffix(".json"), json.dumps(sidecar, indent=2) + "\n")


def compare(read: Checkpoint, exported: Checkpoint) -> Agreement:
    """Run a checkpoint and its export on the same images, both in float32."""
    import torch

    own = TorchRuntime(read.model, device="cpu", float32=True)
    other = OnnxRuntime(exported)
    generator = torch.Generator().manual_seed(0)
    largest, same, pixels = 0.0, 0, 0
    for count, height, width in COMPARED:
        # Normalised pixels lie between -2 and 2, about.
        images = torch.rand((count, 3, height, width), generator=generator) * 4 - 2
        wanted, found = own.logits(images.numpy()), other.logits(images.numpy())
        if wanted.shape != found.shape:
            return Agreement(float("inf"), 0.0)
        apart = float(abs(wanted - found).max())
        largest = apart if not apart <= largest else largest
        same += int((wanted.argmax(1) == found.argmax(1)).sum())
        pixels += count * height * width
    return Agreement(largest, same / pixels)


def write_onnx(model: nn.Module, path: Path, sidecar: Mapping[str, Any]) -> None:
    """Write a segmentor for any batch and any size that is a multiple of 32.

    Whether the exporter has fixed a size is not noticed here: compare the file at other
    sizes. It raises anything on a network that it cannot write.

    Args:
        model: in evaluation mode, float32, on the CPU.
        path: of the file to write.
        sidecar: of the checkpoint; describes the tensors in the file.
    """
    import onnx
    import torch

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return whole_logits(self.model, images)

    varies = {0: "batch", 2: "height", 3: "width"}
    with _quiet_exporter():
        # Not `dynamo=True`: it needs onnxscript, a beta, and took twenty times as long.
        # This one is deprecated since torch 2.9; the bound on torch in
        # requirements/base.txt keeps a version that has it.
        torch.onnx.export(
            Logits().eval(),
            (torch.zeros(TRACED),),
            str(path),
            dynamo=False,
            # Batch norms stay as they are: folded weights would need float32.
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: varies, OUTPUT: varies},
        )
    # In the file, too, for those who have lost the sidecar.
    graph = onnx.load(str(path))
    about = described_tensors(sidecar)
    graph.graph.input[0].doc_string = json.dumps(about["input"])
    graph.graph.output[0].doc_string = json.dumps(about["output"])
    keys = [k for k in ("classes", "normalisation", "scale") if k in sidecar]
    onnx.helper.set_model_props(graph, {key: json.dumps(sidecar[key]) for key in keys})
    _store_in_half(graph.graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Store weights in float16 that it holds exactly, as published checkpoints do.

    The network computes in float32 with the same numbers; the file is half as large.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size > SMALL and np.array_equal(half.astype(np.float32), values):
            stored = f"{name}.float16"
            tensor.CopyFrom(numpy_helper.from_array(half, stored))
            casts.append(
                helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    import torch

    # It prints megabytes before an error, and turns its switch for that on by itself.
    log = getattr(torch._C, "_jit_onnx_log", None)
    torch._C._jit_onnx_log = lambda *_: None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        if log is not None:
            torch._C._jit_onnx_log = log


def described_tensors(sidecar: Mapping[str, Any]) -> dict:
    """Return what the input and the output of an export are, from its sidecar."""
    order = "RGB" if sidecar["normalisation"].get("bgr_to_rgb") else "BGR"
    image = dict(
        name=INPUT,
        type="float32",
        shape=["batch", 3, "height", "width"],
        channels=order,
        values="(pixel - mean) / std, pixels 0 to 255; see normalisation",
        multiple_of=DIVISOR,
    )
    logits = dict(
        name=OUTPUT,
        type="float32",
        shape=["batch", len(sidecar["classes"]), "height", "width"],
        values="softmax over the second axis gives probabilities, the largest entry "
        "the class id",
    )
    return dict(input=image, output=logits)
