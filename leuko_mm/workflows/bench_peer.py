"""The peer of `leuko bench`: the U-Net of segmentation_models.pytorch, on VGG16.

It may run in an environment of its own, which has neither mmseg nor this package
installed: nothing but torch and the peer is imported here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F

CLASSES = 6
LIBRARY = "segmentation_models_pytorch"
# What torchvision describes to torch while it is imported, though its own library,
# which brings the operators, was made for another build of torch and is not loaded.
DECLARED = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Kept: an operator goes with what declared it.
_declared: list[torch.library.Library] = []


def import_peer():
    """Import the peer, also where torchvision does not fit this build of torch.

    No network of the peer calls torchvision's operators. That of the package index
    fails beside a CPU build of torch all the same, for one that it cannot find.

    Raises:
        ImportError: if the peer is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared.append(torch.library.Library("torchvision", "DEF"))
        for operator in DECLARED:
            _declared[-1].define(operator + SIGNATURE)
    return importlib.import_module(LIBRARY)


def build(spec: Mapping) -> Callable[[], object]:
    """Return a call that does one training step or one prediction, in eager float32.

    The step is a plain loop of torch: forward, cross-entropy, backward, AdamW.

    Args:
        spec: ``job``, ``batch``, ``size`` in pixels and ``device``.

    Raises:
        ImportError: if the peer is not installed.
    """
    peer = import_peer()
    device, size = spec["device"], spec["size"]
    model = peer.Unet("vgg16", encoder_weights=None, classes=CLASSES).to(device)
    images = torch.randn(spec["batch"], 3, size, size, device=device)
    if spec["job"] == "predict":
        model.eval()

        def predict() -> torch.Tensor:
            with torch.inference_mode():
                return model(images)

        return predict
    labels = torch.randint(CLASSES, (spec["batch"], size, size), device=device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    model.train()

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()

    return step
