"""What published pictures of single cells share: grey masks, groups and folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.duplicates import near_duplicates, perceptual_hash
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.splits import (
    development_split,
    grouped_folds,
    joined_groups,
    random_cells,
)

# Where more of what is not background has no level of its own, the mask is of another
# kind, or of another class.
MAX_STRAY_SHARE = 0.05
SHOWN = 8


def read_grey(path: Path) -> np.ndarray:
    """Return a mask's grey levels, uint8 (H, W); refuse one in colours."""
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
    """Give each pixel the nearest of the levels, which rise; the lower one of two.

    Shape:
        (H, W), uint8 -> the number of each pixel's level, uint8 (H, W), and
        {stray value: pixels}.
    """
    away = np.abs(np.arange(256)[:, None] - np.asarray(levels))
    numbers = away.argmin(axis=1).astype(np.uint8)[grey]
    counts = np.bincount(grey.ravel(), minlength=256)
    stray = [v for v in np.flatnonzero(counts).tolist() if v not in levels]
    return numbers, {value: int(counts[value]) for value in stray}


def cell_and_nucleus(
    path: Path,
    label: int,
    levels: tuple[int, ...],
    notes: list[str],
    name: str,
    *,
    near: int = 0,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a grey mask as labels of the whole cell, and its nucleus beside them.

    A stray value counts as the nearest level, and is noted with its pixels.

    Args:
        path: the mask.
        label: class id of the cell.
        levels: background, cytoplasm and nucleus; or background and cell.
        notes, name: take a sentence for a file with stray values, under its name.
        near: grey levels that a value may be off without making the mask another kind.

    Returns:
        Labels, uint8 (H, W), and the nucleus, bool (H, W), or None without one.

    Raises:
        DatasetError: if the file cannot be read, holds no cell, or too much of it is
            none of the levels.
    """
    grey = read_grey(path)
    numbers, stray = nearest_levels(grey, levels)
    values = ", ".join(f"{v} on {n} pixel(s)" for v, n in list(stray.items())[:SHOWN])
    far = [v for v in stray if min(abs(v - level) for level in levels) > near]
    if sum(stray[v] for v in far) > MAX_STRAY_SHARE * np.count_nonzero(grey):
        raise DatasetError(
            f"{path}: value {values}; expected {', '.join(map(str, levels))}, and "
            f"other values on {MAX_STRAY_SHARE:.0%} of what is not 0 at most"
        )
    if not numbers.any():
        raise DatasetError(f"{path}: no cell is drawn in it, all counts as background")
    if stray:
        notes.append(f"{name}: stray value {values}, taken as the nearest level")
    labels = np.where(numbers > 0, label, BACKGROUND).astype(np.uint8)
    return labels, numbers == 2 if len(levels) > 2 else None


def picture_groups(images: Mapping[str, Path], notes: list[str]) -> dict[str, str]:
    """Return a group for each picture: its own, or that of one that shows the same.

    Publishers have cut out the same cell twice now and then; such a pair on both
    sides of a split would test a network on its training data.
    """
    notes.append(
        "no slide is known, so every picture is a group of its own, and pictures of "
        "one slide may stand on both sides of a split"
    )
    hashes = {stem: perceptual_hash(read_image(path)) for stem, path in images.items()}
    pairs = near_duplicates(hashes)
    if pairs:
        shown = ", ".join(f"{pair.first} = {pair.second}" for pair in pairs[:SHOWN])
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        notes.append(
            f"{len(pairs)} pair(s) of pictures show the same cell and share a group: "
            f"{shown}{more}"
        )
    return joined_groups({stem: stem for stem in images}, [pair[:2] for pair in pairs])


def picture_splits(
    groups: Mapping[str, str], strata: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return five folds, ``development`` and ``paper``, in the order of ``strata``.

    ``strata`` says what the folds share out evenly, such as the class.
    """
    try:
        folds = grouped_folds(groups, strata)
    except ValueError as error:
        raise DatasetError(f"too few pictures for folds: {error}") from None
    return {
        **folds,
        "development": development_split(folds),
        "paper": random_cells(list(strata)),
    }
