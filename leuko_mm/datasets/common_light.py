"""One light for cells of many slides, so that they can stand in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.mosaic_layout import Tile

# A channel is brightened or darkened by this factor at most.
MOST = 1.6


def in_common_light(tiles: Sequence[Tile], *, leader: int) -> list[Tile]:
    """Give every tile the background colour of one of them, by a gain a channel.

    Args:
        tiles: images with their labels; they are left as they are.
        leader: whose background the others take.

    Returns:
        New images with the same labels; a tile without background is as it was.

    Example:
        >>> dark, light = (np.full((4, 4, 3), v, np.uint8) for v in (100, 150))
        >>> labels = np.zeros((4, 4), np.uint8)
        >>> tiles = in_common_light([(dark, labels), (light, labels)], leader=1)
        >>> [int(image[0, 0, 0]) for image, _ in tiles]
        [150, 150]
    """
    colours = [_background_colour(tile) for tile in tiles]
    target = colours[leader]
    if target is None:
        return list(tiles)
    return [
        tile if colour is None else (_with_gain(tile[0], target / colour), tile[1])
        for tile, colour in zip(tiles, colours, strict=True)
    ]


def _background_colour(tile: Tile) -> np.ndarray | None:
    image, labels = tile
    bare = image[labels == BACKGROUND]
    return np.maximum(bare.mean(axis=0), 1) if len(bare) else None


def _with_gain(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    levels = np.arange(256)[:, None] * np.clip(gain, 1 / MOST, MOST)
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=-1)
