"""What runs a network: torch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import copy
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leuko_mm.errors import LeukoError
from leuko_mm.inference.model import (
    EXPORT_SUFFIX,
    ONNXRUNTIME,
    TORCH,
    Checkpoint,
    CheckpointError,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

OPENVINO = "openvino"
RUNTIMES = (TORCH, ONNXRUNTIME, OPENVINO)
# The first that is installed runs an export: OpenVINO uses bfloat16 where the
# processor multiplies it, ONNX Runtime does not.
EXPORT_RUNTIMES = (OPENVINO, ONNXRUNTIME)
# Names of the two tensors in an exported file.
INPUT, OUTPUT = "image", "logits"


class RuntimeChoiceError(LeukoError, ValueError):
    """A runtime is not installed or cannot run this file; the message says what can."""


class Runtime(ABC):
    """A network that is ready to be called; it returns probabilities of classes.

    Shape:
        float32 (B, 3, H, W), normalised; H and W multiples of 32 -> float32
        (B, C, H, W).
    """

    @abstractmethod
    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of a batch."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        logits = self.logits(images)
        if logits.shape[1] == 1:  # of a leukocyte
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def choose_runtime(path: Path, wanted: str | None = None) -> str:
    """Return the name of what runs a file, without reading it.

    Args:
        path: a ``.pth`` or an exported ``.onnx``.
        wanted: one of ``RUNTIMES``; None takes the fastest that is installed.
    """
    if wanted is not None and wanted not in RUNTIMES:
        raise RuntimeChoiceError(
            f"runtime {wanted!r} is not known; expected one of {', '.join(RUNTIMES)}"
        )
    if Path(path).suffix != EXPORT_SUFFIX:
        if wanted in EXPORT_RUNTIMES:
            raise RuntimeChoiceError(
                f"{wanted} runs exported networks, and {path} is a checkpoint of "
                f"torch; export it first: leuko export {path} NAME{EXPORT_SUFFIX}"
            )
        return TORCH
    if wanted == TORCH:
        raise RuntimeChoiceError(
            f"{path} is exported, and torch runs the .pth that it was made of; "
            f"expected the runtime {' or '.join(EXPORT_RUNTIMES)}"
        )
    installed = [name for name in EXPORT_RUNTIMES if find_spec(name)]
    if wanted is None and not installed:
        raise RuntimeChoiceError(
            f"nothing that runs {path} is installed: pip install {ONNXRUNTIME}, or "
            f"pip install {OPENVINO}"
        )
    if wanted is not None and wanted not in installed:
        raise RuntimeChoiceError(f"{wanted} is not installed: pip install {wanted}")
    return wanted or installed[0]


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
        device: for torch; None takes a GPU where there is one. Others run on the CPU.
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


class TorchRuntime(Runtime):
    """Call a copy of a model, batch norms folded, in bfloat16 where that helps."""

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device | None = None,
        float32: bool = False,
    ):
        import torch

        from leuko_mm.engine.optim import bfloat16_helps

        self.device = _device(device)
        model = copy.deepcopy(model).eval()
        fold_batch_norms(model)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        capable = self.device.type in ("cpu", "cuda")
        self.low_precision = capable and not float32 and bfloat16_helps(self.device)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        import torch

        logits = self._run(images)
        if logits.shape[1] == 1:
            cell = torch.sigmoid(logits)
            return torch.cat([1 - cell, cell], dim=1).cpu().numpy()
        return logits.softmax(dim=1).cpu().numpy()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of a batch."""
        return self._run(images).cpu().numpy()

    def _run(self, images: np.ndarray) -> Tensor:
        import torch

        batch = torch.from_numpy(images)
        batch = batch.to(self.device, memory_format=torch.channels_last)
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.inference_mode(),
            torch.random.fork_rng(devices),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.low_precision
            ),
        ):
            torch.manual_seed(0)  # SegNeXt's head draws numbers for every image
            return whole_logits(self.model, batch).float()


def _device(device: str | torch.device | None) -> torch.device:
    import torch

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


def whole_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return a segmentor's logits at the images' own size, (B, C, H, W)."""
    shape = tuple(images.shape[-2:])
    about = dict(ori_shape=shape, img_shape=shape, pad_shape=shape)
    return model.encode_decode(images, [about] * len(images))


def fold_batch_norms(model: nn.Module) -> int:
    """Replace convolution and batch norm by one convolution; return how many.

    Only where nothing else can read the convolution: neighbours in an
    ``nn.Sequential``, and the two of an mmcv ``ConvModule``. An identity takes the
    place of the norm.
    """
    from mmcv.cnn import ConvModule
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    def fits(convolution: nn.Module, norm: nn.Module) -> bool:
        plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
        # A hook may change weights or read what passes between the two.
        hooks = ("_forward_hooks", "_forward_pre_hooks")
        hooked = any(getattr(m, name) for m in (convolution, norm) for name in hooks)
        ready = plain and not norm.training and norm.running_mean is not None
        return ready and not hooked

    folded = 0
    for module in list(model.modules()):
        if type(module) is nn.Sequential:
            for place in range(len(module) - 1):
                if fits(module[place], module[place + 1]):
                    module[place] = fuse_conv_bn_eval(module[place], module[place + 1])
                    module[place + 1] = nn.Identity()
                    folded += 1
        elif (
            type(module) is ConvModule
            and module.with_norm
            and module.order[:2] == ("conv", "norm")
            and fits(module.conv, module.norm)
        ):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            setattr(module, module.norm_name, nn.Identity())
            folded += 1
    return folded


class OnnxRuntime(Runtime):
    """Run an export by ONNX Runtime, in float32."""

    def __init__(self, checkpoint: Checkpoint):
        import onnxruntime as library

        options = library.SessionOptions()
        options.intra_op_num_threads = _threads()
        # Waiting threads that spin would slow whatever else the machine does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # an error is raised as well
        try:
            self.session = library.InferenceSession(
                str(checkpoint.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _damaged(checkpoint, error) from None
        names = [each.name for each in self.session.get_inputs()]
        shapes = [each.shape for each in self.session.get_outputs()]
        check_outputs(checkpoint, names, shapes[0] if shapes else [])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of a batch."""
        return self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(images)})[0]


class OpenVinoRuntime(Runtime):
    """Run an export by OpenVINO, in bfloat16 where the processor multiplies it."""

    def __init__(self, checkpoint: Checkpoint, *, float32: bool = False):
        import openvino as library

        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": _threads()}
        if float32:
            options["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            model = library.Core().read_model(str(checkpoint.path))
            self.compiled = library.Core().compile_model(model, "CPU", options)
        except Exception as error:
            raise _damaged(checkpoint, error) from None
        shape = [
            None if side.is_dynamic else side.get_length()
            for side in model.outputs[0].partial_shape
        ]
        check_outputs(checkpoint, [x.any_name for x in model.inputs], shape)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits of a batch."""
        return self.compiled([np.ascontiguousarray(images)])[0]


def check_outputs(
    checkpoint: Checkpoint, inputs: Sequence[str], output: Sequence[int | str | None]
) -> None:
    """Refuse an export whose tensors are not those that its sidecar promises.

    Sides of the output that vary are no numbers.
    """
    classes = len(checkpoint.classes)
    # A single logit is that of a leukocyte.
    channels = {classes, 1} if classes == 2 else {classes}
    found = output[1] if len(output) == 4 else None
    if list(inputs) != [INPUT] or (isinstance(found, int) and found not in channels):
        raise CheckpointError(
            f"{checkpoint.path} takes {list(inputs)} and gives {list(output)}; its "
            f"sidecar promises ['{INPUT}'] and logits of {classes} classes: take both "
            "files from one export"
        )


def _threads() -> int:
    # As many as torch uses; 0, the runtime's own choice, if unknown.
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0


def _damaged(checkpoint: Checkpoint, error: Exception) -> CheckpointError:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{checkpoint.path} cannot be loaded ({line[:200]}); export it again with "
        "leuko export --force"
    )
