"""The first batches of a training, as the network gets them, without the network."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from leuko_mm.registry import MODELS, SCOPE


@dataclass(frozen=True)
class BatchImage:
    """One image of a batch, as the network gets it.

    Args:
        batch, place: both counted from 0.
        size: images in the batch.
        image: RGB uint8, the normalisation taken back.
        labels: class ids; 255 is not judged.

    Shape:
        image (H, W, 3), labels (H, W).
    """

    batch: int
    place: int
    size: int
    image: np.ndarray
    labels: np.ndarray


def first_batches(config: Config, part: str, count: int) -> list[BatchImage]:
    """Return the images of the first batches that the network would get.

    They come from the config's own loader and data preprocessor, built as a training
    or a test builds them; the model is not built. Where the samples of a dataset
    depend on its seed and their index alone, as those of this package's do, they are
    those of the run, pixel for pixel.

    Args:
        config: resolved.
        part: ``train`` or ``test``.
        count: images at least; the last batch is taken whole.
    """
    randomness = dict(config.randomness)
    with DefaultScope.overwrite_default_scope(config.get("default_scope", SCOPE)):
        loader = Runner.build_dataloader(
            config[f"{part}_dataloader"],
            seed=randomness.get("seed"),
            diff_rank_seed=randomness.get("diff_rank_seed", False),
        )
        preprocessor = MODELS.build(copy.deepcopy(config.model["data_preprocessor"]))
    shown: list[BatchImage] = []
    for batch, data in enumerate(loader):
        with torch.no_grad():
            shown += _images_of(preprocessor, data, batch, training=part == "train")
        if len(shown) >= count:
            break
    return shown


def _images_of(preprocessor, data, batch: int, *, training: bool) -> list[BatchImage]:
    data = preprocessor(data, training)
    images = displayed(data["inputs"], preprocessor)
    labels = [sample.gt_sem_seg.data[0] for sample in data["data_samples"]]
    return [
        BatchImage(batch, place, len(images), image, truth.numpy().astype(np.uint8))
        for place, (image, truth) in enumerate(zip(images, labels, strict=True))
    ]


def displayed(inputs: torch.Tensor, preprocessor) -> list[np.ndarray]:
    """Take the normalisation of a preprocessor back, whatever it is.

    Normalising and turning BGR into RGB is one linear map a pixel. It is found out by
    putting black, and then each primary colour, through the preprocessor.

    Args:
        inputs: as the network gets them.
        preprocessor: that made them from BGR, as mmcv loads it.

    Shape:
        (B, 3, H, W) -> B times (H, W, 3), RGB uint8.
    """
    probe = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    for channel in range(3):
        probe[channel + 1, channel] = 255
    samples = [SegDataSample() for _ in probe]
    with torch.no_grad():
        seen = preprocessor(dict(inputs=list(probe), data_samples=samples), False)
    colours = seen["inputs"][:, :, 0, 0].double().cpu()  # (4, 3)
    back = torch.linalg.inv((colours[1:] - colours[0]) / 255)
    # (B, 3, H, W) -> (B, H, W, 3)
    values = inputs.detach().double().cpu().permute(0, 2, 3, 1)
    bgr = ((values - colours[0]) @ back).round().clamp(0, 255)
    return [image.numpy() for image in bgr.flip(-1).to(torch.uint8)]
