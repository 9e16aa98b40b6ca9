"""What computes logits: torch, ONNX Runtime or OpenVINO, behind one call."""

from __future__ import annotations

import copy
import importlib
from typing import Protocol

import torch
from torch import Tensor, nn

from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.inference.checkpoint import Checkpoint, CheckpointError
from leuko_mm.inference.exported import INPUT, OUTPUT, check_outputs
from leuko_mm.inference.folding import fold_batch_norms
from leuko_mm.inference.runtime_choice import (
    ONNXRUNTIME,
    TORCH,
    RuntimeChoiceError,
    choose_runtime,
)


class Runtime(Protocol):
    """A network that is ready to be called.

    Shape:
        float32 (B, 3, H, W), normalised, on the CPU; H and W multiples of 32 ->
        logits float32 (B, C, H, W), on any device.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch."""


def open_runtime(
    checkpoint: Checkpoint,
    name: str | None = None,
    *,
    device: str | torch.device | None = None,
    float32: bool = False,
) -> Runtime:
    """Make a network ready to be called.

    Args:
        checkpoint: what ``read_model`` returned.
        name: see ``choose_runtime``.
        device: for torch; None takes a GPU where there is one. The others run on the
            CPU.
        float32: never compute in bfloat16, even where that is faster.

    Raises:
        RuntimeChoiceError: if the runtime is not installed or does not fit.
        CheckpointError: if an exported file is damaged or not what its sidecar says.
        ValueError: if there is no such device.
    """
    name = choose_runtime(checkpoint.path, name)
    if name == TORCH:
        return TorchRuntime(checkpoint.model, device=device, float32=float32)
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise RuntimeChoiceError(
            f"device {str(device)!r}: {name} computes on the CPU here; leave the "
            "device out, or use the .pth"
        )
    if name == ONNXRUNTIME:
        return OnnxRuntime(checkpoint)
    return OpenVinoRuntime(checkpoint, float32=float32)


class TorchRuntime:
    """Call a model as its training did, channels-last, in bfloat16 where that helps.

    Batch norms are folded into convolutions first.

    Args:
        model: a segmentor; it is copied, not moved.
        device: None takes a GPU where there is one.
        float32: never compute in bfloat16.

    Raises:
        ValueError: if there is no such device.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        float32: bool = False,
    ):
        self.device = _device(device)
        model = copy.deepcopy(model).eval()
        fold_batch_norms(model)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        capable = self.device.type in ("cpu", "cuda")
        self.low_precision = capable and not float32 and bfloat16_helps()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch, on the model's device."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.low_precision
            ),
        ):
            return whole_logits(self.model, images).float()


def whole_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return a segmentor's logits at the images' own size.

    Shape:
        (B, 3, H, W) -> (B, C, H, W).
    """
    shape = tuple(images.shape[-2:])
    about = dict(ori_shape=shape, img_shape=shape, pad_shape=shape)
    return model.encode_decode(images, [about] * len(images))


class OnnxRuntime:
    """Run an export by ONNX Runtime on as many threads as torch may use, in float32.

    Args:
        checkpoint: what ``read_export`` returned.

    Raises:
        CheckpointError: if the file is damaged or not what its sidecar says.
    """

    def __init__(self, checkpoint: Checkpoint):
        library = importlib.import_module("onnxruntime")
        options = library.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised as well
        try:
            self.session = library.InferenceSession(
                str(checkpoint.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _damaged(checkpoint, error) from None
        (output,) = self.session.get_outputs()[:1]
        names = [each.name for each in self.session.get_inputs()]
        check_outputs(checkpoint, names, output.shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch."""
        values = images.contiguous().numpy()
        return torch.from_numpy(self.session.run([OUTPUT], {INPUT: values})[0])


class OpenVinoRuntime:
    """Run an export by OpenVINO on as many threads as torch may use.

    Args:
        checkpoint: what ``read_export`` returned.
        float32: do not leave the precision to OpenVINO, which takes bfloat16 where the
            processor multiplies it.

    Raises:
        CheckpointError: if the file is damaged or not what its sidecar says.
    """

    def __init__(self, checkpoint: Checkpoint, *, float32: bool = False):
        library = importlib.import_module("openvino")
        wishes = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        if float32:
            wishes["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            model = library.Core().read_model(str(checkpoint.path))
            self.compiled = library.Core().compile_model(model, "CPU", wishes)
        except Exception as error:
            raise _damaged(checkpoint, error) from None
        shape = [
            None if side.is_dynamic else side.get_length()
            for side in model.outputs[0].partial_shape
        ]
        check_outputs(checkpoint, [x.any_name for x in model.inputs], shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of a batch."""
        return torch.from_numpy(self.compiled([images.contiguous().numpy()])[0])


def _damaged(checkpoint: Checkpoint, error: Exception) -> CheckpointError:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{checkpoint.path} cannot be loaded ({line[:200]}); export it again with "
        "leuko export --force"
    )


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        line = (str(error).splitlines() or ["unknown"])[0]
        raise ValueError(
            f"device {device!r} cannot be used ({line}); expected cpu, cuda or cuda:0"
        ) from None
    return found
