"""A network of a few weights and a runner that trains it in a moment."""

from __future__ import annotations

import itertools

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

NUMBERS = itertools.count()
SGD = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
ADAM = dict(
    type="leuko_mm.AutocastOptimWrapper",
    enabled=False,
    constructor="leuko_mm.EncoderLrConstructor",
    paramwise_cfg=dict(lr_mult=0.1),
    optimizer=dict(type="AdamW", lr=0.01),
)


class ToyNet(BaseModel):
    """An encoder of one convolution and a head of one."""

    def __init__(self, *, pretrained: bool = True, norm: bool = False):
        super().__init__()
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()]
        if norm:
            layers.insert(1, nn.BatchNorm2d(4))
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Conv2d(4, 2, 1)
        if pretrained:
            self.backbone.init_cfg = dict(type="Pretrained", checkpoint="toy.pth")

    def forward(self, image, target, mode="loss"):
        return dict(loss=(self.head(self.backbone(image)) - target).square().mean())


class QuietRunner(Runner):
    """A runner that does not ask the machine for its compilers."""

    def _log_env(self, env_cfg):
        pass


class EveryIteration(Hook):
    """Call a function with the runner after every iteration."""

    priority = "LOWEST"

    def __init__(self, function):
        self.function = function

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.function(runner)


def toy_net(**options) -> ToyNet:
    torch.manual_seed(0)
    return ToyNet(**options)


def toy_data(count: int = 40) -> list[dict]:
    numbers = torch.Generator().manual_seed(7)
    return [
        dict(
            image=torch.randn(3, 6, 6, generator=numbers),
            target=torch.randn(2, 6, 6, generator=numbers),
        )
        for _ in range(count)
    ]


def toy_runner(model, work_dir, *, hooks=(), data=None, batch=4, **settings) -> Runner:
    options = dict(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=6),
        optim_wrapper=SGD,
        default_hooks=dict(logger=None, checkpoint=None),
        default_scope="mmseg",
        experiment_name=f"toy{next(NUMBERS)}",
        log_level="ERROR",
    )
    return QuietRunner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader(data or toy_data(), batch_size=batch),
        custom_hooks=list(hooks),
        **{**options, **settings},
    )
