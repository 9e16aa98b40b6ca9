"""Masks whose grey levels mean background, cytoplasm and nucleus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.duplicates import near_duplicates, perceptual_hash
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.splits import joined_groups

# Of what is not background. Where more has no level of its own, the mask is of
# another kind, or of another class.
STRAY_SHARE = 0.05


def read_grey(path: Path) -> np.ndarray:
    """Return a mask's grey levels, uint8 (H, W).

    Raises:
        DatasetError: if it cannot be read, or is in colours.
    """
    file = read_mask_file(path)
    values = file.values if file.palette is None else file.palette[file.values]
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise DatasetError(f"{path} is in colours; expected a mask of grey levels")
        values = values[..., 0]
    if values.max() > 255 or values.min() < 0:
        raise DatasetError(
            f"{path}: values from {values.min()} to {values.max()}; expected grey "
            "levels of 0 to 255"
        )
    return values.astype(np.uint8)


def nearest_levels(
    grey: np.ndarray, levels: tuple[int, ...]
) -> tuple[np.ndarray, dict[int, int]]:
    """Give each pixel the nearest of the levels that a mask should have.

    Args:
        grey: uint8 (H, W).
        levels: what it should hold, rising; halfway between two the lower one wins.

    Returns:
        The number of each pixel's level, uint8 (H, W), and {stray value: pixels}.

    Example:
        >>> grey = np.array([[0, 7, 128, 255, 250]], np.uint8)
        >>> numbers, stray = nearest_levels(grey, (0, 128, 255))
        >>> numbers.tolist(), stray
        ([[0, 0, 1, 2, 2]], {7: 1, 250: 1})
    """
    away = np.abs(np.arange(256)[:, None] - np.asarray(levels))
    numbers = away.argmin(axis=1).astype(np.uint8)[grey]
    values, pixels = np.unique(grey, return_counts=True)
    counts = dict(zip(values.tolist(), pixels.tolist(), strict=True))
    return numbers, {v: n for v, n in counts.items() if v not in levels}


def cell_and_nucleus(
    path: Path, label: int, levels: tuple[int, ...], notes: list[str], name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a grey mask as labels of the whole cell, and its nucleus beside them.

    A stray value counts as the nearest level, and is noted with its pixels.

    Args:
        path: the mask.
        label: class id of the cell.
        levels: background, cytoplasm and nucleus; or background and cell, where no
            nucleus was drawn.
        notes: takes one sentence for a file with stray values.
        name: how the file is called there.

    Returns:
        Labels, uint8 (H, W), and the nucleus, bool (H, W), or None without one.

    Raises:
        DatasetError: if the file cannot be read, holds no cell, or too much of it is
            none of the levels.
    """
    grey = read_grey(path)
    numbers, stray = nearest_levels(grey, levels)
    told = ", ".join(f"{v} on {n} pixel(s)" for v, n in list(stray.items())[:8])
    if sum(stray.values()) > STRAY_SHARE * np.count_nonzero(grey):
        raise DatasetError(
            f"{path}: value {told}; expected {', '.join(map(str, levels))}, and other "
            f"values on {STRAY_SHARE:.0%} of what is not 0 at most"
        )
    if not numbers.any():
        raise DatasetError(f"{path}: no cell is drawn in it, all counts as background")
    if stray:
        notes.append(f"{name}: stray value {told}, taken as the nearest level")
    labels = np.where(numbers > 0, label, BACKGROUND).astype(np.uint8)
    return labels, numbers == 2 if len(levels) > 2 else None


SHOWN = 8


def picture_groups(images: Mapping[str, Path], notes: list[str]) -> dict[str, str]:
    """Return a group for each picture: its own, or that of one that shows the same.

    Publishers have cut out the same cell twice now and then; such a pair on both
    sides of a split would test a network on what it learnt.

    Args:
        images: stem -> file.
        notes: takes what a user must know of the groups.

    Raises:
        DatasetError: if a file cannot be read.
    """
    notes.append(
        "no slide is known, so every picture is a group of its own, and pictures of "
        "one slide may stand on both sides of a split"
    )
    hashes = {stem: perceptual_hash(read_image(path)) for stem, path in images.items()}
    pairs = near_duplicates(hashes)
    if pairs:
        told = ", ".join(f"{pair.first} = {pair.second}" for pair in pairs[:SHOWN])
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        notes.append(
            f"{len(pairs)} pair(s) of pictures show the same cell and share a group: "
            f"{told}{more}"
        )
    return joined_groups({stem: stem for stem in images}, [pair[:2] for pair in pairs])
