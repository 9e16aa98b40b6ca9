"""Colours of the groups of a dataset, and which of them are unlike the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL

REGIONS = ("background", "cell")
# A region of fewer pixels has no reliable mean.
ENOUGH_PIXELS = 16
# Among fewer groups none can be called the odd one.
ENOUGH_GROUPS = 5
# A group is far out from this many deviations of the groups' distances on, and from
# this colour difference (delta E of 1976) on, which is plain to see.
DEVIATIONS = 3.5
SEEN = 10.0
# Ratio of the standard to the median absolute deviation of a normal distribution.
NORMAL = 1.4826


@dataclass(frozen=True)
class RegionColour:
    """Colour of one region over the cells of a group."""

    lab: tuple[float, float, float]  # mean L*, a*, b*
    rgb: tuple[int, int, int]  # the same colour in sRGB, 0-255
    spread: float  # mean distance of the cells' own means from it, in delta E
    distance: float  # from the median of all groups, in delta E
    far: bool  # whether that is unlike the other groups' distances


@dataclass(frozen=True)
class GroupStain:
    """Colours of one group by region; None for a region that no cell of it has."""

    group: str
    cells: int
    regions: Mapping[str, RegionColour | None]


def region_means(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean CIELAB of background and cell; NaN where there are few pixels.

    Args:
        image: RGB uint8.
        labels: class ids; 255 belongs to neither.

    Shape:
        (H, W, 3), (H, W) -> (2, 3).
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    background = labels == BACKGROUND
    cell = ~background & (labels != IGNORE_LABEL)
    means = np.full((2, 3), np.nan)
    for index, region in enumerate((background, cell)):
        if region.sum() >= ENOUGH_PIXELS:
            means[index] = lab[region].mean(axis=0)
    return means


def group_stains(
    means: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> list[GroupStain]:
    """Return the colours of every group, in the order of their names.

    Args:
        means: stem -> ``region_means``.
        groups: stem -> group.
    """
    names = sorted({groups[stem] for stem in means})
    of = {name: [means[s] for s in means if groups[s] == name] for name in names}
    columns = [_region([np.array(of[n])[:, i] for n in names]) for i in range(2)]
    return [
        GroupStain(name, len(of[name]), dict(zip(REGIONS, colours, strict=True)))
        for name, *colours in zip(names, *columns, strict=True)
    ]


def _region(cells: Sequence[np.ndarray]) -> list[RegionColour | None]:
    """Return one region's colour in every group, from its cells' means (N, 3)."""
    kept = [values[~np.isnan(values).any(axis=1)] for values in cells]
    full = [i for i, values in enumerate(kept) if len(values)]
    colours: list[RegionColour | None] = [None] * len(cells)
    if not full:
        return colours
    labs = np.array([kept[i].mean(axis=0) for i in full])
    distances = np.linalg.norm(labs - np.median(labs, axis=0), axis=1)
    far = _far(distances)
    for place, i in enumerate(full):
        spread = np.linalg.norm(kept[i] - labs[place], axis=1).mean()
        colours[i] = RegionColour(
            lab=tuple(labs[place].tolist()),
            rgb=_rgb(labs[place]),
            spread=float(spread),
            distance=float(distances[place]),
            far=bool(far[place]),
        )
    return colours


def _far(distances: np.ndarray) -> np.ndarray:
    if len(distances) < ENOUGH_GROUPS:
        return np.zeros(len(distances), bool)
    usual = np.median(distances)
    deviation = NORMAL * np.median(np.abs(distances - usual))
    return distances > max(SEEN, usual + DEVIATIONS * deviation)


def _rgb(lab: np.ndarray) -> tuple[int, int, int]:
    colour = cv2.cvtColor(lab.astype(np.float32).reshape(1, 1, 3), cv2.COLOR_LAB2RGB)
    return tuple(np.rint(np.clip(colour[0, 0], 0, 1) * 255).astype(int).tolist())
