"""Nuclei of the five leukocytes as spines: chains of discs that make lobes.

A spine is an (N, 3) array of x, y and radius in um from the cell's centre. One
spine is one lobe; filaments are thin spines between lobes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Nucleus:
    """Shape of a nucleus.

    Args:
        lobes: one spine a lobe.
        filaments: thin spines that join neighbouring lobes.
    """

    lobes: tuple[np.ndarray, ...]
    filaments: tuple[np.ndarray, ...] = ()


def nucleus(class_name: str, radius: float, rng: np.random.Generator) -> Nucleus:
    """Draw the nucleus that a leukocyte of this class has.

    Args:
        class_name: canonical name of a leukocyte class.
        radius: of the cell, um.
        rng: source of randomness.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> len(nucleus("lymphocyte", 7.0, rng).lobes)
        1
        >>> 2 <= len(nucleus("neutrophil", 8.0, rng).lobes) <= 5
        True
    """
    return _NUCLEI[class_name](radius, rng)


def _turned(spines: list[np.ndarray], angle: float) -> tuple[np.ndarray, ...]:
    """Rotate spines about the cell's centre."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return tuple(spine @ turn for spine in spines)


def _rod(
    middle: np.ndarray, half: float, angle: float, radius: float, bend: float
) -> np.ndarray:
    """A sausage: 7 discs along a slightly bent line, thinner towards the ends."""
    t = np.linspace(-1.0, 1.0, 7)
    along, across = half * t, bend * half * (t**2 - 0.4)
    cos, sin = np.cos(angle), np.sin(angle)
    x = middle[0] + along * cos - across * sin
    y = middle[1] + along * sin + across * cos
    return np.column_stack([x, y, radius * (1.0 - 0.12 * t**2)])


def _thread(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """A filament between two points, thinnest in the middle."""
    t = np.linspace(0.0, 1.0, 25)[:, None]
    thin = radius * (1.0 + 0.8 * np.abs(2 * t - 1) ** 2)
    return np.hstack([start + (end - start) * t, thin])


def _segmented(
    radius: float, rng: np.random.Generator, count: int, share: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Lobes along an open arc with filaments between neighbours.

    ``share`` is the part of the cell's disc that the lobes fill together.
    """
    span = {1: 0.0, 2: 2.4, 3: 3.7, 4: 4.2, 5: 4.6}[count] * rng.uniform(0.9, 1.05)
    angles = np.linspace(-span / 2, span / 2, count)
    angles += rng.normal(0, 0.08, count)
    away = radius * (0.44 + 0.02 * count) * rng.uniform(0.92, 1.08, count)
    middles = away[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    size = radius * np.sqrt(share / count)
    lobes = []
    for middle, angle in zip(middles, angles, strict=True):
        lobe = size * rng.uniform(0.82, 1.12)
        stretch = rng.uniform(0.25, 0.75)  # half length of the spine in radii
        thick = lobe / np.sqrt(1 + 4 * stretch / np.pi)
        lean = angle + rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.35)
        lobes.append(_rod(middle, stretch * thick, lean, thick, rng.uniform(-0.5, 0.5)))
    threads = [_thread(a, b, rng.uniform(0.16, 0.3)) for a, b in pairwise(middles)]
    return lobes, threads


def _neutrophil(radius: float, rng: np.random.Generator) -> Nucleus:
    count = int(rng.choice([2, 3, 4, 5], p=[0.12, 0.42, 0.34, 0.12]))
    lobes, threads = _segmented(radius, rng, count, share=rng.uniform(0.30, 0.37))
    turn = rng.uniform(0, 2 * np.pi)
    return Nucleus(_turned(lobes, turn), _turned(threads, turn))


def _eosinophil(radius: float, rng: np.random.Generator) -> Nucleus:
    count = int(rng.choice([2, 3], p=[0.88, 0.12]))
    share = rng.uniform(0.30, 0.38)
    lobes, threads = _segmented(radius, rng, count, share=share)
    for thread in threads:
        thread[:, 2] *= 1.8
    shift = np.array([rng.uniform(-0.18, 0.0) * radius, 0.0, 0.0])
    turn = rng.uniform(0, 2 * np.pi)
    return Nucleus(
        _turned([lobe + shift for lobe in lobes], turn),
        _turned([thread + shift for thread in threads], turn),
    )


def _basophil(radius: float, rng: np.random.Generator) -> Nucleus:
    bend, half = rng.uniform(0.3, 1.2), radius * rng.uniform(0.3, 0.5)
    spine = _rod(np.zeros(2), half, 0.0, radius * rng.uniform(0.42, 0.55), bend)
    spine[:, 2] *= rng.uniform(0.85, 1.15, len(spine))
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


def _lymphocyte(radius: float, rng: np.random.Generator) -> Nucleus:
    filled = rng.uniform(0.70, 0.86)
    half = radius * rng.uniform(0.05, 0.22)
    thick = radius * filled - 0.5 * half
    away = (1.0 - filled) * radius * rng.uniform(0.2, 0.75)
    spine = _rod(np.array([away, 0.0]), half, np.pi / 2, thick, rng.uniform(0, 0.6))
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


def _monocyte(radius: float, rng: np.random.Generator) -> Nucleus:
    """A kidney or a horseshoe: a thick arc, off the middle of the cell."""
    span = rng.uniform(2.3, 4.2)
    bow = radius * rng.uniform(0.40, 0.48)
    angles = np.linspace(-span / 2, span / 2, 15)
    swell = 1.0 + 0.13 * np.sin(rng.uniform(0, 6.3) + 2.4 * angles)
    thick = radius * rng.uniform(0.25, 0.31) * (1.22 - 0.11 * span) * swell
    spine = np.column_stack([bow * np.cos(angles), bow * np.sin(angles), thick * 1.12])
    spine[:, 0] -= bow * rng.uniform(0.1, 0.35)
    return Nucleus(_turned([spine], rng.uniform(0, 2 * np.pi)))


_NUCLEI: dict[str, Callable[[float, np.random.Generator], Nucleus]] = {
    "basophil": _basophil,
    "eosinophil": _eosinophil,
    "lymphocyte": _lymphocyte,
    "monocyte": _monocyte,
    "neutrophil": _neutrophil,
}
