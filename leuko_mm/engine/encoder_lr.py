"""A learning rate of its own for an encoder that has learnt before."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from leuko_mm.engine.pretrained_part import find_part, is_pretrained
from leuko_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

OPTIONS = ("lr_mult", "module")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class EncoderLrConstructor(DefaultOptimWrapperConstructor):
    """Make two parameter groups, a pretrained encoder and the rest.

    The encoder's learning rate is the optimiser's times ``lr_mult`` where it starts
    from a file, and the optimiser's where it starts from random weights, which have
    all to learn. mmengine's own constructor makes a group of every parameter: a log
    line each, and optimiser steps that cannot take many tensors at once.

    Args:
        optim_wrapper_cfg: config of the wrapper, with an ``optimizer`` that has ``lr``.
        paramwise_cfg: ``lr_mult``, and ``module``: name of the encoder, by default
            ``backbone``.

    Raises:
        ValueError: if ``lr_mult`` or the optimiser's ``lr`` is missing, an option is
            unknown, or the model has no such part.

    Example:
        >>> model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), head=nn.Linear(2, 1)))
        >>> model.backbone.init_cfg = dict(checkpoint="encoder.pth")
        >>> constructor = EncoderLrConstructor(
        ...     dict(optimizer=dict(type="SGD", lr=1.0)), dict(lr_mult=0.1)
        ... )
        >>> [group["lr"] for group in constructor(model).optimizer.param_groups]
        [0.1, 1.0]
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        unknown = ", ".join(sorted(set(self.paramwise_cfg) - set(OPTIONS)))
        if unknown or "lr_mult" not in self.paramwise_cfg:
            raise ValueError(
                f"EncoderLrConstructor got paramwise_cfg={paramwise_cfg}; it needs "
                f"lr_mult, and knows no other option than {', '.join(OPTIONS)}"
            )
        if self.base_lr is None:
            raise ValueError(
                "EncoderLrConstructor got an optimizer without lr; give one, which "
                "lr_mult can multiply"
            )

    def add_params(self, params: list[dict], module: nn.Module, **_) -> None:
        """Append both groups; parameters that are not trained are in neither."""
        name = self.paramwise_cfg.get("module", "backbone")
        inside = {id(p) for p in find_part(module, name).parameters()}
        trained = [p for p in module.parameters() if p.requires_grad]
        encoder = [p for p in trained if id(p) in inside]
        rest = [p for p in trained if id(p) not in inside]
        factor = self.paramwise_cfg["lr_mult"] if is_pretrained(module, name) else 1.0
        lr = self.base_lr * factor
        groups = [dict(params=encoder, lr=lr), dict(params=rest, lr=self.base_lr)]
        params.extend(group for group in groups if group["params"])
        print_log(
            f"learning rates: {lr:g} for the {len(encoder)} tensors of {name}, "
            f"{self.base_lr:g} for the {len(rest)} others",
            "current",
        )
