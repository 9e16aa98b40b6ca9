"""A learning rate of its own for an encoder that has learnt before."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from leuko_mm.engine.pretrained_part import find_part, is_pretrained
from leuko_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

OPTIONS = ("lr_mult", "module")


def encoder_groups(
    model: nn.Module, lr: float, *, lr_mult: float, module: str = "backbone"
) -> list[dict]:
    """Return two parameter groups for an optimiser, the encoder and the rest.

    The encoder's learning rate is ``lr * lr_mult`` where it starts from a file, and
    ``lr`` where it starts from random weights, which have all to learn. Parameters
    that are not trained are in neither group.

    Args:
        model: not wrapped for data-parallel training.
        lr: learning rate of the rest.
        lr_mult: factor for a pretrained encoder.
        module: name of the encoder, dots for nesting.

    Raises:
        ValueError: if the model has no such part.

    Example:
        >>> model = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), head=nn.Linear(2, 1)))
        >>> [group["lr"] for group in encoder_groups(model, 1.0, lr_mult=0.1)]
        [1.0, 1.0]
        >>> model.backbone.init_cfg = dict(type="Pretrained", checkpoint="encoder.pth")
        >>> [group["lr"] for group in encoder_groups(model, 1.0, lr_mult=0.1)]
        [0.1, 1.0]
    """
    inside = {id(p) for p in find_part(model, module).parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    factor = lr_mult if is_pretrained(model, module) else 1.0
    return [
        dict(params=[p for p in trained if id(p) in inside], lr=lr * factor),
        dict(params=[p for p in trained if id(p) not in inside], lr=lr),
    ]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class EncoderLrConstructor(DefaultOptimWrapperConstructor):
    """Give a pretrained encoder its own learning rate; see ``encoder_groups``.

    mmengine's own constructor makes a group of every parameter: a log line each, and
    optimiser steps that cannot take many tensors at once.

    Args:
        optim_wrapper_cfg: config of the wrapper, with an ``optimizer`` that has ``lr``.
        paramwise_cfg: ``lr_mult``, and ``module`` if it is not ``backbone``.

    Raises:
        ValueError: if ``lr_mult`` or the optimiser's ``lr`` is missing, an option is
            unknown, or the model has no such part.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if (
            set(self.paramwise_cfg) - set(OPTIONS)
            or "lr_mult" not in self.paramwise_cfg
        ):
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
        """Append the groups that have parameters."""
        groups = encoder_groups(module, self.base_lr, **self.paramwise_cfg)
        params.extend(group for group in groups if group["params"])
        encoder, rest = ((len(g["params"]), g["lr"]) for g in groups)
        print_log(
            f"learning rates: {encoder[1]:g} for the {encoder[0]} tensors of "
            f"{self.paramwise_cfg.get('module', 'backbone')}, {rest[1]:g} for the "
            f"{rest[0]} others",
            "current",
        )
