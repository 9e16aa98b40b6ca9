"""Compute the maps of a frozen encoder once an image, where images come again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

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
