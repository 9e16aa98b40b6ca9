"""Optimiser steps: precision, memory layout, learning rates and averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from leuko_mm.engine.dilated_conv import own_weight_gradients
from leuko_mm.engine.runner import wrap_again
from leuko_mm.engine.staged_freeze import find_submodule, is_pretrained
from leuko_mm.registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

DEVICES = ("cpu", "cuda")
# What Adam and AdamW have by default.
DEFAULTS = dict(fused=None, foreach=None, capturable=False, differentiable=False)
GROUP_OPTIONS = ("lr_mult", "module")


def fuse_step(optimizer: Optimizer) -> bool:
    """Let Adam or AdamW update each weight in one pass; return whether it does.

    The default form takes about four times as long on a CPU; the numbers agree but for
    rounding. An optimiser with a choice of its own or with a state is left as it is.
    """
    groups = optimizer.param_groups
    weights = [weight for group in groups for weight in group["params"]]
    fits = (
        type(optimizer) in (Adam, AdamW)
        and not optimizer.state
        and all(weight.device.type in DEVICES for weight in weights)
        and all(weight.is_floating_point() for weight in weights)
        # By identity: False is a choice, too.
        and all(g[key] is value for g in groups for key, value in DEFAULTS.items())
    )
    if fits:
        optimizer.defaults["fused"] = True
        for group in groups:
            group["fused"] = True
    return fits


def bfloat16_helps(device: str | torch.device | None = None) -> bool:
    """Whether bfloat16 is faster than float32: it is where it is not emulated.

    Args:
        device: that computes; None is a GPU where there is one.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu and (device is None or torch.device(device).type != "cpu"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch do not tell; float32 is right everywhere.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights stay float32.

    mmengine's ``AmpOptimWrapper`` refuses CPUs. Bfloat16 has float32's range, so no
    loss scaling is needed on any device.

    Args:
        enabled: False gives plain float32 with the same class; None, bfloat16 where
            it helps, see ``bfloat16_helps``.
        fused: let Adam and AdamW step in one pass, on any device; see ``fuse_step``.
        **kwargs: for ``mmengine.optim.OptimWrapper``.
    """

    def __init__(
        self, *, enabled: bool | None = None, fused: bool = True, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if enabled is None:
            weight = self.optimizer.param_groups[0]["params"][0]
            enabled = bfloat16_helps(weight.device)
        self.enabled = enabled
        if fused:
            fuse_step(self.optimizer)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Hold the autocast context for one forward pass."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16, enabled=self.enabled),
        ):
            yield


def channels_last_helps(device: str | torch.device) -> bool:
    """Whether a training step is faster channels-last than contiguous on a device.

    It is on GPUs and with AVX-512. On other x86 processors the forward pass is faster,
    but a step takes longer.
    """
    if torch.device(device).type != "cpu":
        return True
    # Versions of torch that do not tell the processor: channels-last, as ever.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    known = capabilities.get("architecture") == "x86_64"
    return not known or bool(capabilities.get("avx512_f"))


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Store 4-d weights channels-last for tests, and for training where that helps.

    Convolutions then run channels-last from end to end: about 2.8 times as fast as the
    contiguous layout on a CPU with AVX-512. See ``channels_last_helps``. Dilated
    convolutions in groups get the gradients of ``dilated_conv``.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner) -> None:
        """Convert the model in place, where a training step is faster."""
        if channels_last_helps(next(runner.model.parameters()).device):
            runner.model.to(memory_format=torch.channels_last)
            own_weight_gradients(runner.model)
            wrap_again(runner)

    def before_test(self, runner) -> None:
        """Convert the model in place: without gradients it is faster everywhere."""
        runner.model.to(memory_format=torch.channels_last)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class EncoderLrConstructor(DefaultOptimWrapperConstructor):
    """Give a pretrained encoder its own learning rate, ``lr * lr_mult``.

    An encoder from random weights learns at ``lr``, as the rest does. Parameters that
    are not trained are left out.

    Args:
        optim_wrapper_cfg: config of the wrapper, with an ``optimizer`` that has ``lr``.
        paramwise_cfg: ``lr_mult``, and ``module`` if it is not ``backbone``.

    Raises:
        ValueError: if ``lr_mult`` or the optimiser's ``lr`` is missing, an option is
            unknown, or the model has no such submodule.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        unknown = set(self.paramwise_cfg) - set(GROUP_OPTIONS)
        if unknown or "lr_mult" not in self.paramwise_cfg:
            raise ValueError(
                f"EncoderLrConstructor got paramwise_cfg={paramwise_cfg}; it needs "
                f"lr_mult, and knows no other option than {', '.join(GROUP_OPTIONS)}"
            )
        if self.base_lr is None:
            raise ValueError(
                "EncoderLrConstructor got an optimizer without lr; give one, which "
                "lr_mult can multiply"
            )

    def add_params(self, params: list[dict], module: nn.Module, **_) -> None:
        """Append the groups that have parameters."""
        name, lr = self.paramwise_cfg.get("module", "backbone"), self.base_lr
        inside = {id(p) for p in find_submodule(module, name).parameters()}
        trained = [p for p in module.parameters() if p.requires_grad]
        factor = self.paramwise_cfg["lr_mult"] if is_pretrained(module, name) else 1.0
        encoder = dict(params=[p for p in trained if id(p) in inside], lr=lr * factor)
        rest = dict(params=[p for p in trained if id(p) not in inside], lr=lr)
        params.extend(group for group in (encoder, rest) if group["params"])
        print_log(
            f"learning rates: {encoder['lr']:g} for the {len(encoder['params'])} "
            f"tensors of {name}, {lr:g} for the {len(rest['params'])} others",
            "current",
        )


@HOOKS.register_module()
class WeightAveragingHook(EMAHook):
    """End a training with the mean of the weights that it passed through.

    mmengine's ``EMAHook`` with its ``StochasticWeightAverage``, running statistics of
    batch norms included; a resumed training continues the same mean. The mean becomes
    the model's weights after the last step, and nothing is swapped for a test before.

    Args:
        begin: share of the training after which averaging begins, from 0 to below 1.

    Raises:
        ValueError: if ``begin`` is another number.

    Reference:
        Izmailov et al., Averaging weights leads to wider optima and better
        generalization, UAI 2018. Differs: every step counts, and the learning rate is
        whatever the schedule says.
    """

    def __init__(self, *, begin: float = 0.5):
        if not 0 <= begin < 1:
            raise ValueError(
                "WeightAveragingHook takes a begin of 0 up to below 1, a share of the "
                f"training, got {begin}"
            )
        super().__init__(
            ema_type="StochasticWeightAverage", strict_load=True, update_buffers=True
        )
        self.begin = begin

    def before_train(self, runner) -> None:
        """Find the first iteration that counts."""
        self.begin_iter = round(self.begin * runner.max_iters) + 1

    def after_train(self, runner) -> None:
        """Load the mean into the model."""
        self.src_model.load_state_dict(self.ema_model.module.state_dict())

    def _swap_ema_parameters(self) -> None:
        """Do nothing: tests come after the training."""
