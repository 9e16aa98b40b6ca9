"""Train the new parts first, then everything: the paper's two stages."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor, nn

from leuko_mm.engine.runner import unwrapped, wrap_again
from leuko_mm.registry import HOOKS

MIB = 2**20


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


class FeatureCache:
    """Keep the maps that a frozen encoder computed of each image.

    The key is a hash of the pixels as the encoder receives them. Maps are stored when
    an image comes the second time; after ``patience`` images without a repeat the cache
    is off.

    Args:
        encoder: a module from (B, C, H, W) to a sequence of maps; it must be frozen and
            in evaluation mode whenever it is called.
        patience: images; usually the length of the dataset.
        limit_mib: MiB that all maps may take; further ones are computed each time.
    """

    def __init__(self, encoder: nn.Module, *, patience: int, limit_mib: float = 6144):
        self.encoder, self.patience = encoder, patience
        self.left = int(limit_mib * MIB)
        self.seen = self.repeats = self.hits = 0
        self._seen_once: set[bytes] = set()
        self._stored: dict[bytes, tuple[Tensor, ...]] = {}
        self._compute, self._single = None, False

    def __enter__(self) -> FeatureCache:
        """Replace the encoder's ``forward``."""
        self._compute = self.encoder.forward
        # On the object, not its class: other encoders keep theirs.
        self.encoder.forward = self._forward
        return self

    def __exit__(self, *_) -> None:
        """Restore the encoder's ``forward``, and drop all maps."""
        vars(self.encoder).pop("forward", None)
        self._stored.clear()
        self._seen_once.clear()

    def _forward(self, images: Tensor) -> Sequence[Tensor] | Tensor:
        if self.seen > self.patience and not self.repeats:
            self._seen_once.clear()
            return self._compute(images)
        keys = [self._key(image) for image in images]
        self.seen += len(keys)
        new = [i for i, key in enumerate(keys) if key not in self._stored]
        self.hits += len(keys) - len(new)
        self.repeats += sum(key in self._seen_once for key in keys)
        if len(new) == len(keys):
            maps = self._compute(images)
            self._store(keys, new, maps)
            return maps
        computed = self._compute(images[new]) if new else ()
        found = self._gather(keys, new, _as_maps(computed))
        self._store(keys, new, computed)
        return found

    def _key(self, image: Tensor) -> bytes:
        pixels = image.detach().cpu().contiguous()
        digest = hashlib.blake2b(pixels.numpy(), digest_size=16)
        # The same image in another precision has other maps.
        digest.update(f"{tuple(pixels.shape)} {_precision(image)}".encode())
        return digest.digest()

    def _store(self, keys, new, maps) -> None:
        """Store the maps of the images that were computed, in their order."""
        self._single = isinstance(maps, Tensor) if new else self._single
        for row, i in enumerate(new):
            own = tuple(one[row : row + 1].detach() for one in _as_maps(maps))
            size = sum(one.numel() * one.element_size() for one in own)
            again = keys[i] in self._seen_once and keys[i] not in self._stored
            if again and size <= self.left:
                # A slice would hold the maps of the whole batch.
                self._stored[keys[i]] = tuple(one.clone() for one in own)
                self.left -= size
            self._seen_once.add(keys[i])

    def _gather(self, keys, new, computed) -> Sequence[Tensor] | Tensor:
        """Return the maps of all images, stored and computed ones in their order."""
        rows = {i: row for row, i in enumerate(new)}
        each = [
            tuple(one[rows[i]][None] for one in computed)
            if i in rows
            else self._stored[key]
            for i, key in enumerate(keys)
        ]
        maps = tuple(torch.cat(level) for level in zip(*each, strict=True))
        return maps[0] if self._single else maps


def _as_maps(maps: Sequence[Tensor] | Tensor) -> Sequence[Tensor]:
    return (maps,) if isinstance(maps, Tensor) else tuple(maps)


def _precision(image: Tensor) -> str:
    device = image.device.type
    on = torch.is_autocast_enabled(device)
    return f"{image.dtype} {torch.get_autocast_dtype(device) if on else None}"


def available_mib(tensor: Tensor) -> float:
    """Return the MiB that are available where a tensor is; infinity if not known."""
    if tensor.is_cuda:
        return torch.cuda.mem_get_info(tensor.device)[0] / MIB
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # no Linux
        return math.inf
    sizes = dict(line.split(":") for line in lines)
    return int(sizes["MemAvailable"].split()[0]) * 1024 / MIB


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

    Maps of images that come again unchanged are computed once, see ``FeatureCache``.

    Args:
        iters: iterations to stay frozen; or
        epochs: epochs to stay frozen. Exactly one of the two.
        module: attribute of the model, dots for nesting.
        only_pretrained: do nothing where the submodule starts from random weights.
        cache_mib: MiB that stored maps may take, at most half of the memory that is
            available; 0: store none. The 45 mosaics of the paper's protocol take 3 GiB
            in bfloat16 and 6 in float32.

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
        cache_mib: float = 6144,
    ):
        if (iters is None) == (epochs is None):
            raise ValueError(
                f"give either iters or epochs, got iters={iters} and epochs={epochs}"
            )
        self.iters, self.epochs = iters, epochs
        self.module, self.only_pretrained = module, only_pretrained
        self.cache_mib = cache_mib
        self._frozen: list[nn.Parameter] = []
        self._cache = ExitStack()
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
            if self.cache_mib:
                images = len(runner.train_loop.dataloader.dataset)
                limit = min(self.cache_mib, available_mib(next(part.parameters())) / 2)
                cache = FeatureCache(part, patience=images, limit_mib=limit)
                self._cache.enter_context(cache)
            self._report(runner, "frozen")

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Thaw in time, or keep the submodule in evaluation mode."""
        if not self._frozen:
            return
        if self._is_frozen_stage(runner):
            # The loop has put the whole model into training mode.
            self._find(runner).eval()
            return
        self._cache.close()
        thaw(self._frozen)
        self._frozen = []
        self._find(runner).train()
        wrap_again(runner)
        self._report(runner, "thawed")

    def after_train(self, runner) -> None:
        """Restore the submodule's own ``forward``."""
        self._cache.close()

    def _is_frozen_stage(self, runner) -> bool:
        if self.iters is not None:
            return runner.iter < self.iters
        return runner.epoch < self.epochs

    def _find(self, runner) -> nn.Module:
        return find_submodule(unwrapped(runner.model), self.module)

    def _report(self, runner, state: str) -> None:
        print_log(f"{self.module} {state} at iteration {runner.iter}", "current")
