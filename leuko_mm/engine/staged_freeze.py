"""Train the new parts first, then everything: the paper's two stages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor, nn

from leuko_mm.engine.data_parallel import unwrapped, wrap_again
from leuko_mm.registry import HOOKS


def find_submodule(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule of that name.

    Args:
        model: not wrapped for data-parallel training.
        name: attribute of the model, dots for nesting.

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
    """Whether a part is initialised from a file, by its own recipe or one above it.

    A recipe is an ``init_cfg``, or a list of them; one that names a ``checkpoint``
    reads a file.

    Args:
        model: not wrapped for data-parallel training.
        name: as for ``find_submodule``.

    Raises:
        ValueError: if there is no such part.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2))
        >>> is_pretrained(model, "0")
        False
        >>> model[0].init_cfg = dict(type="Pretrained", checkpoint="encoder.pth")
        >>> is_pretrained(model, "0")
        True
    """
    find_submodule(model, name)
    names = name.split(".")
    above = [".".join(names[:end]) for end in range(len(names) + 1)]
    return any(_reads_file(model.get_submodule(path)) for path in above)


def _reads_file(module: nn.Module) -> bool:
    recipe = getattr(module, "init_cfg", None) or {}
    recipes = recipe if isinstance(recipe, (list, tuple)) else [recipe]
    return any(r.get("checkpoint") for r in recipes)


MIB = 2**20


class FeatureCache:
    """Remember what a frozen encoder answered to each image.

    An image is known by its pixels as the encoder gets them, so one that augmentation
    changed is another image and is never answered with maps that are not its own. Maps
    are kept of an image that comes the second time, and answered from the third time
    on: where nothing comes again, no memory is taken. After more than ``patience``
    images, none of which came again, the cache asks no more.

    Args:
        encoder: a module from (B, C, H, W) to a sequence of maps; it must not learn,
            and be in evaluation mode, whenever it is called.
        patience: images; usually the length of the dataset.
        limit_mib: MiB that the maps may take together; what comes later is computed
            anew each time.

    Example:
        >>> encoder = nn.Conv2d(3, 2, 1).eval().requires_grad_(False)
        >>> cache = FeatureCache(nn.Sequential(encoder), patience=2)
        >>> image = torch.zeros(1, 3, 4, 4)
        >>> with cache:
        ...     _ = [cache.encoder(image) for _ in range(5)]
        >>> cache.hits
        3
    """

    def __init__(self, encoder: nn.Module, *, patience: int, limit_mib: float = 1024):
        self.encoder, self.patience = encoder, patience
        self.left = int(limit_mib * MIB)
        self.seen = self.repeats = self.hits = 0
        self._before: set[bytes] = set()
        self._known: dict[bytes, tuple[Tensor, ...]] = {}
        self._compute, self._single = None, False

    def __enter__(self) -> FeatureCache:
        """Answer in the encoder's place."""
        self._compute = self.encoder.forward
        # On the object, not its class: no other encoder is meant.
        self.encoder.forward = self._forward
        return self

    def __exit__(self, *_) -> None:
        """Let the encoder answer itself, and forget."""
        vars(self.encoder).pop("forward", None)
        self._known.clear()
        self._before.clear()

    def _forward(self, images: Tensor) -> Sequence[Tensor] | Tensor:
        if self.seen > self.patience and not self.repeats:
            self._before.clear()
            return self._compute(images)
        keys = [self._key(image) for image in images]
        self.seen += len(keys)
        fresh = [i for i, key in enumerate(keys) if key not in self._known]
        self.hits += len(keys) - len(fresh)
        self.repeats += sum(key in self._before for key in keys)
        if len(fresh) == len(keys):
            maps = self._compute(images)
            self._keep(keys, fresh, maps)
            return maps
        computed = self._compute(images[fresh]) if fresh else ()
        found = self._gathered(keys, fresh, _as_maps(computed))
        self._keep(keys, fresh, computed)
        return found

    def _key(self, image: Tensor) -> bytes:
        pixels = image.detach().cpu().contiguous()
        digest = hashlib.blake2b(pixels.numpy(), digest_size=16)
        # The same image in another precision has other maps.
        digest.update(f"{tuple(pixels.shape)} {_precision(image)}".encode())
        return digest.digest()

    def _keep(self, keys, fresh, maps) -> None:
        """Remember the maps of the images that were computed, in their order."""
        self._single = isinstance(maps, Tensor) if fresh else self._single
        for place, i in enumerate(fresh):
            own = tuple(one[place : place + 1].detach() for one in _as_maps(maps))
            size = sum(one.numel() * one.element_size() for one in own)
            again = keys[i] in self._before and keys[i] not in self._known
            if again and size <= self.left:
                # A slice would hold the maps of the whole batch.
                self._known[keys[i]] = tuple(one.clone() for one in own)
                self.left -= size
            self._before.add(keys[i])

    def _gathered(self, keys, fresh, computed) -> Sequence[Tensor] | Tensor:
        """Return the maps of all images, known and computed ones in their order."""
        place = {i: n for n, i in enumerate(fresh)}
        each = [
            tuple(one[place[i]][None] for one in computed)
            if i in place
            else self._known[key]
            for i, key in enumerate(keys)
        ]
        maps = tuple(torch.cat(level) for level in zip(*each, strict=True))
        return maps[0] if self._single else maps


def _as_maps(maps: Sequence[Tensor] | Tensor) -> Sequence[Tensor]:
    return (maps,) if isinstance(maps, Tensor) else tuple(maps)


def _precision(image: Tensor) -> str:
    kind = image.device.type
    on = torch.is_autocast_enabled(kind)
    return f"{image.dtype} {torch.get_autocast_dtype(kind) if on else None}"


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
    reason that ``wrap_again`` gives.

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
            wrap_again(runner)
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
