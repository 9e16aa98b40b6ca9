"""How well whole cells are told apart after an enhancement: a linear probe.

One training of a network moves by points from seed to seed; logistic regression on
the frozen features of an ImageNet VGG16 has one solution. It says how much of the
class an encoder that has seen no smear can read off, not how a trained network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.prepared import read_index, read_split
from leuko_mm.datasets.tile_store import resize_tile
from leuko_mm.engine.encoder_weights import find_weights
from leuko_mm.engine.safe_load import load_tensors
from leuko_mm.models.vgg import VGG
from leuko_mm.transforms import RandomCellAffine, StainJitter
from leuko_mm.workflows.enhancement_evidence_methods import Method

SIDE = 128
COPIES = 6
BATCH = 16
STRENGTHS = (1e-4, 1e-3, 1e-2)
# Fold 5 stays unseen, as in every choice that is made on BCISC.
FOLDS = ("fold1", "fold2", "fold3", "fold4")
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ProbeCells:
    """The cells of the folds that are looked at.

    Attributes:
        images: uint8 RGB (H, W, 3), enhanced.
        masks: uint8 (H, W), 1 in the cell.
        classes: names.
        folds: the fold that tests each cell.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    classes: np.ndarray
    folds: np.ndarray


def probe(root: Path, method: Method, *, encoder: Callable | None = None) -> dict:
    """Return the share of cells whose class is found on slides not learnt from.

    Every fold's cells are judged by a logistic regression on the other folds' cells:
    means and standard deviations, over the cell, of VGG16's last three maps. Learnt
    are each cell and six copies of it, turned, scaled and recoloured as in training.

    Args:
        root: a prepared dataset with the splits ``fold1`` to ``fold5``.
        method: the enhancement.
        encoder: from (B, 3, H, W) to maps; None takes VGG16 with ImageNet weights.

    Returns:
        ``cells``, and ``accuracy``: percent for each inverse strength of the
        regression's penalty.
    """
    cells = probe_cells(root, method)
    maps_of = encoder or imagenet_vgg()
    np.random.seed(0)  # what the augmentation draws from
    as_is = np.concatenate(list(_features(cells, maps_of, changed=False)))
    copies = [
        np.concatenate(list(_features(cells, maps_of, changed=True)))
        for _ in range(COPIES)
    ]
    accuracy = {}
    for strength in STRENGTHS:
        right = np.zeros(len(cells.classes), bool)
        for fold in np.unique(cells.folds):
            test = cells.folds == fold
            learnt = np.concatenate([part[~test] for part in (as_is, *copies)])
            classes = np.tile(cells.classes[~test], 1 + COPIES)
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, max_iter=300)
            ).fit(learnt, classes)
            right[test] = model.predict(as_is[test]) == cells.classes[test]
        accuracy[f"{strength:g}"] = float(100 * right.mean())
    return dict(cells=len(cells.classes), accuracy=accuracy)


def probe_cells(root: Path, method: Method) -> ProbeCells:
    """Return the enhanced cells of folds 1 to 4."""
    fold_of = {
        stem: fold
        for fold in FOLDS
        for stem, part in read_split(root, fold).items()
        if part == "test"
    }
    rows = [row for row in read_index(root) if row.stem in fold_of]
    masks = []
    for row in rows:
        with Image.open(Path(root) / row.mask) as mask:
            masks.append((np.array(mask) > 0).astype(np.uint8))
    return ProbeCells(
        images=[method(read_image(Path(root) / row.image)) for row in rows],
        masks=masks,
        classes=np.array([row.class_name for row in rows]),
        folds=np.array([fold_of[row.stem] for row in rows]),
    )


def imagenet_vgg() -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Return VGG16 with ImageNet weights as a function from a batch to its maps."""
    network = VGG(depth=16)
    weights = load_tensors(find_weights("vgg16"))
    wanted = network.state_dict()
    network.load_state_dict({key: weights[key].float() for key in wanted})
    return network.eval().to(memory_format=torch.channels_last)


def _features(
    cells: ProbeCells, maps_of: Callable, *, changed: bool
) -> Iterator[np.ndarray]:
    affine, stain = RandomCellAffine(), StainJitter()
    for begin in range(0, len(cells.images), BATCH):
        images, masks = [], []
        for i in range(begin, min(begin + BATCH, len(cells.images))):
            image, mask = resize_tile(cells.images[i], cells.masks[i], SIDE, SIDE)
            if changed:
                sample = dict(img=image, gt_seg_map=mask, seg_fields=["gt_seg_map"])
                sample = stain.transform(affine.transform(sample))
                image, mask = sample["img"], sample["gt_seg_map"]
            images.append(image)
            masks.append(mask == 1)
        yield _pooled(np.stack(images), np.stack(masks), maps_of)


def _pooled(images: np.ndarray, masks: np.ndarray, maps_of: Callable) -> np.ndarray:
    """Return (B, features) of (B, H, W, 3) images and (B, H, W) masks."""
    batch = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    batch = torch.from_numpy(batch).permute(0, 3, 1, 2)
    inside = torch.from_numpy(masks.astype(np.float32))[:, None]
    # Half the digits cost a third of the time, and are enough to rank methods.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        maps = maps_of(batch.contiguous(memory_format=torch.channels_last))
    pooled = []
    for one in (level.float() for level in maps[-3:]):
        weight = torch.nn.functional.adaptive_avg_pool2d(inside, one.shape[-2:])
        weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
        mean = (one * weight).sum((2, 3))
        off = (one - mean[:, :, None, None]) ** 2
        pooled += [mean, (off * weight).sum((2, 3)).sqrt()]
    return torch.cat(pooled, dim=1).numpy()
