"""Splits of a dataset: who trains, who tests. Pure functions, no files.

Stain and light belong to the slide, so an honest split divides slides, never the
cells of one slide. The random splits of the paper are offered beside, to measure
what they leak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from leuko_mm.datasets.sampling import compose_fixed


def slide_folds(slides: Mapping[str, int], *, folds: int = 5) -> dict[str, dict]:
    """Return ``fold1`` ... with fold k testing the k-th run of slide numbers.

    With ten slides and five folds, fold k tests slides 2k-1 and 2k.

    Args:
        slides: stem -> slide number (1-based; of its class, where slides are numbered
            by class as in BCISC).

    Raises:
        ValueError: if there are fewer slide numbers than folds, or less than 2 folds.

    Example:
        >>> folds = slide_folds({"a": 1, "b": 2, "c": 3, "d": 4}, folds=2)
        >>> folds["fold1"]
        {'a': 'test', 'b': 'test', 'c': 'train', 'd': 'train'}
    """
    numbers = sorted(set(slides.values()))
    if not 2 <= folds <= len(numbers):
        raise ValueError(
            f"{folds} folds of {len(numbers)} slides; expected at least 2 folds, and "
            "as many slides as folds or more"
        )
    fold_of = {
        number: fold
        for fold, run in enumerate(np.array_split(numbers, folds), 1)
        for number in run.tolist()
    }
    return {
        f"fold{fold}": {
            stem: "test" if fold_of[slide] == fold else "train"
            for stem, slide in slides.items()
        }
        for fold in range(1, folds + 1)
    }


def development_split(
    folds: Mapping[str, Mapping[str, str]], *, test: int = 4, reserved: int = 5
) -> dict[str, str]:
    """Return the split to choose settings on: the reserved fold is in neither part.

    Args:
        folds: what ``slide_folds`` returned.
        test: number of the fold that is tested.
        reserved: number of the fold that is kept for reporting.

    Example:
        >>> slides = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
        >>> development_split(slide_folds(slides))
        {'a': 'train', 'b': 'train', 'c': 'train', 'd': 'test'}
    """
    kept_apart = folds[f"fold{reserved}"]
    return {
        stem: part
        for stem, part in folds[f"fold{test}"].items()
        if kept_apart[stem] != "test"
    }


def random_cells(
    stems: Sequence[str], *, test_fraction: float = 0.1, seed: int = 0
) -> dict[str, str]:
    """Return the paper's 9:1 split read over single cells, slides mixed.

    Raises:
        ValueError: if a part would be empty.

    Example:
        >>> parts = random_cells([f"c{i}" for i in range(20)])
        >>> sorted(parts.values()).count("test")
        2
    """
    order = np.random.default_rng(seed).permutation(len(stems))
    tested = set(order[: _tested(len(stems), test_fraction)].tolist())
    return {s: "test" if i in tested else "train" for i, s in enumerate(stems)}


def _tested(total: int, test_fraction: float) -> int:
    count = round(total * test_fraction)
    if not 0 < count < total:
        raise ValueError(
            f"a test fraction of {test_fraction} of {total} leaves train or test "
            "empty; expected at least one of each"
        )
    return count


def random_mosaics(
    stems: Sequence[str],
    *,
    mosaics: int = 50,
    n: int = 2,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> dict[str, str]:
    """Return the paper's own order: compose mosaics first, then split them 9:1.

    The composition is that of ``MosaicDataset(split_stage='mosaics')`` whose
    ``split_seed`` is the seed. Cells that no mosaic drew are in neither part.

    Raises:
        ValueError: if there are too few cells for the mosaics, so that a cell would
            stand in several and might belong to both parts.

    Example:
        >>> parts = random_mosaics([f"c{i}" for i in range(268)])
        >>> len(parts), list(parts.values()).count("test")
        (200, 20)
    """
    if mosaics * n * n > len(stems):
        raise ValueError(
            f"{mosaics} mosaics of {n}x{n} need {mosaics * n * n} cells, got "
            f"{len(stems)}; use fewer mosaics or a smaller n"
        )
    composed = compose_fixed(len(stems), mosaics, n * n, seed=seed)
    tested = split_mosaics(mosaics, test_fraction=test_fraction, seed=seed)["test"]
    parts = {}
    for index, cells in enumerate(composed):
        for cell in cells:
            parts[stems[cell]] = "test" if index in tested else "train"
    return parts


def split_mosaics(mosaics: int, *, test_fraction: float, seed: int) -> dict[str, list]:
    """Divide mosaic numbers into ``train`` and ``test``, both in rising order.

    Raises:
        ValueError: if a part would be empty.

    Example:
        >>> {p: len(v) for p, v in split_mosaics(50, test_fraction=0.1, seed=0).items()}
        {'train': 45, 'test': 5}
    """
    order = np.random.default_rng([seed, 1]).permutation(mosaics)
    count = _tested(mosaics, test_fraction)
    return {
        "train": sorted(order[count:].tolist()),
        "test": sorted(order[:count].tolist()),
    }


def shared_groups(parts: Mapping[str, str], groups: Mapping[str, str]) -> list[str]:
    """Return the groups that stand in both parts of a split, in rising order.

    Args:
        parts: stem -> ``train`` or ``test``.
        groups: stem -> group.

    Example:
        >>> shared_groups({"a": "train", "b": "test"}, {"a": "slide_1", "b": "slide_1"})
        ['slide_1']
    """
    found: dict[str, set[str]] = {"train": set(), "test": set()}
    for stem, part in parts.items():
        found[part].add(groups[stem])
    return sorted(found["train"] & found["test"])
