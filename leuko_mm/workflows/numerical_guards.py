"""Keep what is no number away from a training's weights, before and while it runs."""

from __future__ import annotations

import contextlib
import copy

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from leuko_mm.engine.data_parallel import unwrapped
from leuko_mm.engine.finite_loss import FiniteLossHook
from leuko_mm.errors import UsageError

USUAL_SIDE = 256


def guard_numbers(runner: Runner, config: Config) -> None:
    """Refuse a batch that cannot be normalised, and stop at losses that are no number.

    A config that brings a ``FiniteLossHook`` keeps its own.

    Raises:
        UsageError: if batch normalisation would meet one value a channel.
    """
    loader = config.train_dataloader
    if loader.get("batch_size") == 1:
        side = loader["dataset"].get("size") or USUAL_SIDE
        check_single_image(unwrapped(runner.model), side)
    if not any(isinstance(hook, FiniteLossHook) for hook in runner.hooks):
        runner.register_hook(FiniteLossHook())


def check_single_image(model: nn.Module, side: int) -> None:
    """Refuse a model that normalises a map of one pixel over batches of one image.

    Its one value a channel has no spread, and torch would refuse it in the first
    iteration, when everything is loaded. Nothing is computed to find out.

    Args:
        model: a segmentor, not wrapped.
        side: pixels of the images.

    Raises:
        UsageError: naming the layer.
    """
    shadow = copy.deepcopy(model).to("meta").train()
    alone: list[str] = []
    for name, part in shadow.named_modules():
        if isinstance(part, _BatchNorm):
            part.register_forward_pre_hook(_noting(name, alone))
    # What fails for another reason needs values; the training will tell.
    with contextlib.suppress(Exception):
        shadow(torch.empty(1, 3, side, side, device="meta"), None, mode="tensor")
    if alone:
        raise UsageError(
            f"batch_size is 1, and {alone[0]} normalises one value a channel of it, "
            "which has no spread; add --cfg-options train_dataloader.batch_size=2, or "
            "choose a norm other than BN for that part"
        )


def _noting(name: str, alone: list[str]):
    def note(part: nn.Module, inputs: tuple) -> None:
        values = inputs[0]
        if part.training and values.numel() == values.shape[1]:
            alone.append(name)

    return note
