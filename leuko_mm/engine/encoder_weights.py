"""Find, check and load ImageNet weights of an encoder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import nn

from leuko_mm.engine.download import download as fetch
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.registry import WEIGHT_INITIALIZERS

# name in a config -> (file names it may have, address it can be fetched from)
KNOWN = {
    "vgg16": (
        ("vgg16-397923af.pth", "vgg16_imagenet_features_fp16.pth"),
        "https://download.pytorch.org/models/vgg16-397923af.pth",
    ),
}
# torchvision writes the beginning of a file's sha256 into its name.
DIGEST = re.compile(r"-([0-9a-f]{8,})\.pth$")


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
    if download:
        digest = DIGEST.search(names[0])
        try:
            return fetch(url, target, sha256=digest[1] if digest else "")
        except OSError as error:
            reason = f"fetching them failed ({error})"
    looked = "\n    ".join(str(f) for f in weight_folders())
    raise WeightsError(
        f"ImageNet weights {checkpoint!r} are missing: {reason}. Looked for "
        f"{' or '.join(names)} in\n    {looked}\nOn a machine with a network:\n"
        f"    curl -L --create-dirs -o {target} {url}\n"
        "or train from random weights with\n"
        "    --cfg-options model.backbone.init_cfg=None"
    )


@WEIGHT_INITIALIZERS.register_module()
class EncoderWeights:
    """Initialise an encoder from ImageNet weights, for use as an ``init_cfg``.

    Reads a local file of torchvision's layout, float32 or float16, and ignores the
    classifier. Every parameter of the encoder must be in the file.

    Args:
        checkpoint: ``vgg16``, or a path to a file.

    Raises:
        WeightsError: if the file is not found.
        UnsafeCheckpointError: if it is damaged or holds more than tensors.
        ValueError: if it does not fit the encoder.
    """

    def __init__(self, checkpoint: str):
        self.checkpoint = checkpoint

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
        module.load_state_dict({key: tensors[key].float() for key in wanted})
        print_log(f"loaded {self.checkpoint} weights from {path}", "current")


def _shape(value) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else "missing"
