"""Networks out of checkpoints with sidecars, and what they make of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.workflows.figures_methods import TrainedMethod
from leuko_mm.workflows.model_size import build_bare


def load_network(method: TrainedMethod) -> nn.Module:
    """Build a method's network from its sidecar and load its weights.

    Raises:
        UsageError: if the weights do not fit.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    recipe = dict(method.sidecar["config"]["model"])
    model = build_bare(Config(dict(model=recipe)))
    tensors = load_tensors(method.path)
    try:
        model.load_state_dict(tensors.get("state_dict", tensors))
    except RuntimeError as error:
        said = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UsageError(
            f"{method.path} does not fit its sidecar: {said[:300]}"
        ) from None
    return model.eval()


def segment(
    model: nn.Module, images: Iterable[np.ndarray], side: int
) -> Iterator[np.ndarray]:
    """Yield the labels that a network gives to images, (side, side) each.

    Args:
        model: a segmentor.
        images: uint8 RGB, of the size that it was trained at.
        side: of the labels, in pixels.
    """
    for number, image in enumerate(images):
        shape = image.shape[:2]
        about = dict(ori_shape=shape, img_shape=shape, pad_shape=shape)
        bgr = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
        batch = dict(
            inputs=[torch.from_numpy(bgr)], data_samples=[SegDataSample(metainfo=about)]
        )
        # One of the networks draws numbers while it looks.
        with (
            torch.no_grad(),
            sample_randomness(0, number),
            warnings.catch_warnings(),
            DefaultScope.overwrite_default_scope("mmseg"),
        ):
            warnings.simplefilter("ignore")
            labels = model.test_step(batch)[0].pred_sem_seg.data[0]
        yield cv2.resize(
            labels.cpu().numpy().astype(np.uint8),
            (side, side),
            interpolation=cv2.INTER_NEAREST_EXACT,
        )
