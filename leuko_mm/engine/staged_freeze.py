"""Train the new parts first, then everything: the paper's two stages."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from leuko_mm.engine.data_parallel import unwrapped, wrap_anew
from leuko_mm.engine.feature_cache import FeatureCache
from leuko_mm.engine.pretrained_part import find_part, is_pretrained
from leuko_mm.registry import HOOKS


def freeze(module: nn.Module) -> list[nn.Parameter]:
    """Freeze a module and return the parameters that were not frozen before.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> held = freeze(layer)
        >>> layer.weight.requires_grad, len(held)
        (False, 2)
        >>> thaw(held)
        >>> layer.weight.requires_grad
        True
    """
    held = [p for p in module.parameters() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
        parameter.grad = None
    return held


def thaw(parameters: Iterable[nn.Parameter]) -> None:
    """Let parameters take gradients again."""
    for parameter in parameters:
        parameter.requires_grad_(True)


@HOOKS.register_module()
class StagedFreezeHook(Hook):
    """Freeze a submodule at first, thaw it after a number of iterations or epochs.

    While frozen, the submodule takes no gradient, its batch norms use and keep their
    stored statistics, and its dropout is off. What the model itself keeps frozen stays
    so after the thaw. The optimiser holds all parameters from the start, so the thawed
    part's learning rate is set where all are: in the optimiser wrapper's constructor.

    Maps of images that come again unchanged are computed once (``FeatureCache``), which
    is possible where nothing augments them.

    Under data-parallel training the model is wrapped anew after each change, for the
    reason that ``wrap_anew`` gives.

    Args:
        iters: iterations to stay frozen; or
        epochs: epochs to stay frozen. Exactly one of the two.
        module: attribute of the model, dots for nesting.
        only_pretrained: do nothing where the submodule starts from random weights,
            which would be useless to freeze.
        cache_mib: MiB that remembered maps may take; 0 computes all of them anew.

    Raises:
        ValueError: if not exactly one of ``iters`` and ``epochs`` is given, the model
            has no such submodule, or epochs are asked of a loop that counts none.
    """

    # After the checkpoint is loaded, before anything looks at the parameters.
    priority = "HIGH"

    def __init__(
        self,
        *,
        iters: int | None = None,
        epochs: int | None = None,
        module: str = "backbone",
        only_pretrained: bool = True,
        cache_mib: float = 1024,
    ):
        if (iters is None) == (epochs is None):
            raise ValueError(
                f"give either iters or epochs, got iters={iters} and epochs={epochs}"
            )
        self.iters, self.epochs = iters, epochs
        self.module, self.only_pretrained = module, only_pretrained
        self.cache_mib = cache_mib
        self._held: list[nn.Parameter] = []
        self._cache = ExitStack()
        # Whether this training has a frozen stage, gone by or not.
        self.acts = False

    def before_train(self, runner) -> None:
        """Set the stage that the (possibly resumed) run is in."""
        if self.epochs is not None and isinstance(
            runner.train_loop, IterBasedTrainLoop
        ):
            raise ValueError(
                f"StagedFreezeHook got epochs={self.epochs}, but this training counts "
                "iterations only and would never thaw; give iters"
            )
        part = self._find(runner)
        if self.only_pretrained and not is_pretrained(
            unwrapped(runner.model), self.module
        ):
            print_log(f"{self.module} starts random and is not frozen", "current")
            return
        self.acts = True
        if self._is_frozen_stage(runner):
            self._held = freeze(part)
            wrap_anew(runner)
            if self.cache_mib:
                images = len(runner.train_loop.dataloader.dataset)
                cache = FeatureCache(part, patience=images, limit_mib=self.cache_mib)
                self._cache.enter_context(cache)
            self._report(runner, "frozen")

    def before_train_epoch(self, runner) -> None:
        """Thaw between epochs, where the stage is counted in epochs."""
        self._thaw_in_time(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Thaw in time, and keep a frozen part's batch norms as they are."""
        self._thaw_in_time(runner)
        if self._held:
            # The loop has put the whole model into training mode.
            self._find(runner).eval()

    def after_train(self, runner) -> None:
        """Leave the submodule as it was."""
        self._cache.close()

    def _thaw_in_time(self, runner) -> None:
        if not self._held or self._is_frozen_stage(runner):
            return
        self._cache.close()
        thaw(self._held)
        self._held = []
        self._find(runner).train()
        wrap_anew(runner)
        self._report(runner, "thawed")

    def _is_frozen_stage(self, runner) -> bool:
        if self.iters is not None:
            return runner.iter < self.iters
        return runner.epoch < self.epochs

    def _find(self, runner) -> nn.Module:
        return find_part(unwrapped(runner.model), self.module)

    def _report(self, runner, state: str) -> None:
        print_log(f"{self.module} {state} at iteration {runner.iter}", "current")
