"""Write a segmentor as an ONNX file that says of itself what goes in and comes out."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leuko_mm.inference.exported import INPUT, OUTPUT
from leuko_mm.inference.runtimes import whole_logits
from leuko_mm.inference.tile_network import DIVISOR

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
