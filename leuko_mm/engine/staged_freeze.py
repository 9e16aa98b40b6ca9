"""Train the new parts first, then everything: the paper's two stages."""

from __future__ import annotations

from collections.abc import Iterable

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from leuko_mm.engine.runner import unwrapped, wrap_again
from leuko_mm.registry import HOOKS


def find_submodule(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule of that name, with dots for nesting.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    try:
        return model.get_submodule(name)
    except AttributeError:
        children = ", ".join(name for name, _ in model.named_children())
        raise ValueError(
            f"the model has no part {name!r}; its parts are: {children}"
        ) from None


def is_pretrained(model: nn.Module, name: str) -> bool:
    """Whether a submodule's ``init_cfg``, or one above it, names a ``checkpoint``."""
    find_submodule(model, name)
    names = name.split(".")
    for end in range(len(names) + 1):
        module = model.get_submodule(".".join(names[:end]))
        init = getattr(module, "init_cfg", None) or {}
        steps = init if isinstance(init, (list, tuple)) else [init]
        if any(step.get("checkpoint") for step in steps):
            return True
    return False


def freeze(module: nn.Module) -> list[nn.Parameter]:
    """Freeze a module and return the parameters that were not frozen before."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
        parameter.grad = None
    return trained


def thaw(parameters: Iterable[nn.Parameter]) -> None:
    """Let parameters take gradients again."""
    for parameter in parameters:
        parameter.requires_grad_(True)


@HOOKS.register_module()
class StagedFreezeHook(Hook):
    """Freeze a submodule at first, thaw it after a number of iterations or epochs.

    While frozen, the submodule takes no gradient, its batch norms use and keep their
    stored statistics, and its dropout is off. What the model itself keeps frozen stays
    so after the thaw. The optimiser holds all parameters from the start.

    Args:
        iters: iterations to stay frozen; or
        epochs: epochs to stay frozen. Exactly one of the two.
        module: attribute of the model, dots for nesting.
        only_pretrained: do nothing where the submodule starts from random weights.

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
    ):
        if (iters is None) == (epochs is None):
            raise ValueError(
                f"give either iters or epochs, got iters={iters} and epochs={epochs}"
            )
        self.iters, self.epochs = iters, epochs
        self.module, self.only_pretrained = module, only_pretrained
        self._frozen: list[nn.Parameter] = []
        # Whether this training has a frozen stage, past or not.
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
        part, model = self._find(runner), unwrapped(runner.model)
        if self.only_pretrained and not is_pretrained(model, self.module):
            print_log(f"{self.module} starts random and is not frozen", "current")
            return
        self.acts = True
        if self._is_frozen_stage(runner):
            self._frozen = freeze(part)
            wrap_again(runner)
            self._report(runner, "frozen")

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Thaw in time, or keep the submodule in evaluation mode."""
        if not self._frozen:
            return
        if self._is_frozen_stage(runner):
            # The loop has put the whole model into training mode.
            self._find(runner).eval()
            return
        thaw(self._frozen)
        self._frozen = []
        self._find(runner).train()
        wrap_again(runner)
        self._report(runner, "thawed")

    def _is_frozen_stage(self, runner) -> bool:
        if self.iters is not None:
            return runner.iter < self.iters
        return runner.epoch < self.epochs

    def _find(self, runner) -> nn.Module:
        return find_submodule(unwrapped(runner.model), self.module)

    def _report(self, runner, state: str) -> None:
        print_log(f"{self.module} {state} at iteration {runner.iter}", "current")
