"""Every method learns eight mosaics by heart: none is wired wrongly.

From random weights, on mosaics of 64 pixels; about a minute of processor time a method.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from shipped_configs import METHODS

from leuko_mm.models.size import build_bare
from leuko_mm.registry import DATASETS
from leuko_mm.training.config import resolve_config

ITERATIONS, WARM_UP, LOOK_EVERY = 240, 20, 20
WANTED = 0.95


def mosaics(config) -> list[dict]:
    dataset_config = copy.deepcopy(config.train_dataloader.dataset)
    dataset_config.update(size=64, mosaics=8, tile_augmentation=[], enhance=None)
    dataset_config.dataset.update(name="synthetic", split=None)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(dataset_config)
        return [dataset[index] for index in range(8)]


def rate(iteration: int) -> float:
    # A warm-up, then a cosine, as ``half``.
    if iteration < WARM_UP:
        return 0.1 + 0.9 * iteration / WARM_UP
    left = (iteration - WARM_UP) / (ITERATIONS - WARM_UP)
    return 0.5 * (1 + math.cos(math.pi * left))


def pixel_accuracy(model, batches: list[dict]) -> float:
    model.eval()
    right = total = 0
    with torch.no_grad():
        for batch in batches:
            for result in model.test_step(copy.deepcopy(batch)):
                truth = result.gt_sem_seg.data
                counted = truth != 255
                right += ((result.pred_sem_seg.data == truth) & counted).sum().item()
                total += counted.sum().item()
    return right / total


def learn_by_heart(name: str) -> list[float]:
    torch.manual_seed(0)
    config = resolve_config(name, protocol="half")
    config.model.backbone.init_cfg = None
    model = build_bare(config)
    model.init_weights()
    model.to(memory_format=torch.channels_last)
    samples = mosaics(config)
    with DefaultScope.overwrite_default_scope("mmseg"):
        optimiser = build_optim_wrapper(model, config.optim_wrapper)
    base = [group["lr"] for group in optimiser.param_groups]
    seen = []
    for iteration in range(ITERATIONS):
        for group, lr in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = lr * rate(iteration)
        model.train()
        chosen = [samples[i] for i in torch.randperm(8)[:4]]
        data = model.data_preprocessor(
            copy.deepcopy(pseudo_collate(chosen)), training=True
        )
        with optimiser.optim_context(model):
            loss, _ = model.parse_losses(model(**data, mode="loss"))
        optimiser.update_params(loss)
        if (iteration + 1) % LOOK_EVERY == 0:
            batches = [pseudo_collate(samples[:4]), pseudo_collate(samples[4:])]
            seen.append(pixel_accuracy(model, batches))
            if seen[-1] >= WANTED:
                break
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_eight_mosaics_are_learnt_by_heart(name, tiny_data):
    seen = learn_by_heart(name)
    assert seen[-1] >= WANTED, f"{name}: {[round(a, 3) for a in seen]}"
