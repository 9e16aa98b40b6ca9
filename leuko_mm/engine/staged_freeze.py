"""Train the new parts first, then everything: the paper's two stages."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import nn

from leuko_mm.registry import HOOKS


def set_frozen(module: nn.Module, frozen: bool) -> None:
    """Freeze or thaw all parameters of a module.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> set_frozen(layer, True)
        >>> layer.weight.requires_grad
        False
    """
    for parameter in module.parameters():
        parameter.requires_grad_(not frozen)
        if frozen:
            parameter.grad = None


@HOOKS.register_module()
class StagedFreezeHook(Hook):
    """Freeze a submodule at first, thaw it after a number of iterations or epochs.

    While frozen, the submodule takes no gradient and its batch norms use and keep
    their stored statistics. The optimiser holds all parameters from the start, so the
    thawed part's learning rate is set where all are: ``paramwise_cfg`` with
    ``custom_keys=dict(backbone=dict(lr_mult=0.1))``.

    Under data-parallel training the wrapper decides at construction which parameters
    it reduces. So the model is wrapped anew after each change; otherwise the frozen
    stage waits for gradients that never come, or the thawed parameters silently drift
    apart between processes.

    Args:
        iters: iterations to stay frozen; or
        epochs: epochs to stay frozen. Exactly one of the two.
        module: attribute of the model, dots for nesting.
        only_pretrained: do nothing where the submodule starts from random weights,
            which would be useless to freeze.

    Raises:
        ValueError: if not exactly one of ``iters`` and ``epochs`` is given, or the
            model has no such submodule.
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
    ):
        if (iters is None) == (epochs is None):
            raise ValueError(
                f"give either iters or epochs, got iters={iters} and epochs={epochs}"
            )
        self.iters, self.epochs = iters, epochs
        self.module, self.only_pretrained = module, only_pretrained
        self._frozen = False

    def before_train(self, runner) -> None:
        """Set the stage that the (possibly resumed) run is in."""
        if self.only_pretrained and not self._is_pretrained(self._find(runner)):
            self._frozen = False
            return
        if self._should_freeze(runner):
            self._switch(runner, frozen=True)

    def before_train_epoch(self, runner) -> None:
        """Thaw between epochs, where the stage is counted in epochs."""
        if self._frozen and not self._should_freeze(runner):
            self._switch(runner, frozen=False)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Thaw in time, and keep a frozen part's batch norms as they are."""
        if not self._frozen:
            return
        if self._should_freeze(runner):
            self._find(runner).eval()
        else:
            self._switch(runner, frozen=False)

    def _should_freeze(self, runner) -> bool:
        if self.iters is not None:
            return runner.iter < self.iters
        return runner.epoch < self.epochs

    def _find(self, runner) -> nn.Module:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        try:
            return model.get_submodule(self.module)
        except AttributeError:
            children = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"the model has no part {self.module!r} to freeze; it has: {children}"
            ) from None

    @staticmethod
    def _is_pretrained(module: nn.Module) -> bool:
        recipe = getattr(module, "init_cfg", None) or {}
        recipes = recipe if isinstance(recipe, (list, tuple)) else [recipe]
        return any(r.get("checkpoint") for r in recipes)

    def _switch(self, runner, *, frozen: bool) -> None:
        module = self._find(runner)
        set_frozen(module, frozen)
        module.train(not frozen)
        self._frozen = frozen
        if is_model_wrapper(runner.model):
            runner.model = runner.wrap_model(
                runner.cfg.get("model_wrapper_cfg"), runner.model.module
            )
            runner.model.train()
            if frozen:
                self._find(runner).eval()
        state = "frozen" if frozen else "thawed"
        print_log(f"{self.module} {state} at iteration {runner.iter}", "current")
