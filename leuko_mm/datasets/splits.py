"""Splits of a dataset: no group is divided, classes are spread evenly.

Stain and light belong to the slide, so an honest split divides slides, never the cells
of one slide. The random splits of the paper are here too, to measure what they leak.

A split is a mapping of stems to parts (``train`` or ``test``). ``groups`` maps stems
to the unit that may not be divided, such as a slide; ``classes`` to class names.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from leuko_mm.datasets.composition import compose_fixed

# The largest number of folds that a holdout is put together from.
FINEST = 20


def slide_folds(
    slides: Mapping[str, int], *, folds: int = 5
) -> dict[str, dict[str, str]]:
    """Return ``fold1`` ... where fold k tests the k-th run of slide numbers.

    With ten slides and five folds, fold k tests slides 2k-1 and 2k.

    Raises:
        ValueError: if there are fewer slide numbers than folds, or less than 2 folds.
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
        folds: of ``slide_folds`` or ``grouped_folds``.
        test: number of the fold that is tested.
        reserved: number of the fold that is kept for reporting.
    """
    kept_apart = folds[f"fold{reserved}"]
    return {
        stem: part
        for stem, part in folds[f"fold{test}"].items()
        if kept_apart[stem] != "test"
    }


def random_cells(stems: Sequence[str], *, seed: int = 0) -> dict[str, str]:
    """Return the paper's 9:1 split over single cells, slides mixed."""
    order = np.random.default_rng(seed).permutation(len(stems))
    tested = set(order[: max(1, round(len(stems) / 10))].tolist())
    return {s: "test" if i in tested else "train" for i, s in enumerate(stems)}


def random_mosaics(stems: Sequence[str], *, seed: int = 0) -> dict[str, str]:
    """Return the paper's own order: compose 50 mosaics of 4 cells, then split them 9:1.

    Cells that are in no mosaic are in neither part.

    Raises:
        ValueError: if there are too few cells for the mosaics, so that a cell would
            be in several and might belong to both parts.
    """
    if len(stems) < 200:
        raise ValueError(f"50 mosaics of 2x2 need 200 cells, got {len(stems)}")
    composed = compose_fixed(len(stems), 50, 4, seed=seed)
    tested = set(np.random.default_rng([seed, 1]).permutation(50)[:5].tolist())
    return {
        stems[cell]: "test" if index in tested else "train"
        for index, cells in enumerate(composed)
        for cell in cells
    }


def shared_groups(parts: Mapping[str, str], groups: Mapping[str, str]) -> list[str]:
    """Return the groups that are in both parts of a split, in rising order."""
    found: dict[str, set[str]] = {"train": set(), "test": set()}
    for stem, part in parts.items():
        found[part].add(groups[stem])
    return sorted(found["train"] & found["test"])


def grouped_folds(
    groups: Mapping[str, str],
    classes: Mapping[str, str],
    *,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, dict[str, str]]:
    """Return ``fold1`` ... of which each tests groups that no other one tests.

    The groups are dealt by scikit-learn's ``StratifiedGroupKFold``. The result depends
    on groups, classes and seed, not on the order of the mappings; stems come in the
    order of ``groups``.

    Raises:
        ValueError: if there are fewer groups than folds, less than 2 folds, or no class
            with as many cells as folds; or if the mappings name different stems.
    """
    _check_folds(groups, classes, folds)
    # scikit-learn takes seconds to import, and most commands deal no folds.
    from sklearn.model_selection import StratifiedGroupKFold

    stems = sorted(groups)
    number_of = _shuffled_numbers(set(groups.values()), seed)
    kinds = [classes[stem] for stem in stems]
    numbers = [number_of[groups[stem]] for stem in stems]
    with warnings.catch_warnings():
        # A class of fewer cells than folds is absent from some test part; the printed
        # table of counts shows it.
        warnings.filterwarnings("ignore", message="The least populated class")
        dealt = list(StratifiedGroupKFold(folds).split(stems, kinds, numbers))
    made = {}
    for fold, (_, tested) in enumerate(dealt, 1):
        test = {stems[i] for i in tested}
        made[f"fold{fold}"] = {s: "test" if s in test else "train" for s in groups}
    return made


def _check_folds(
    groups: Mapping[str, str], classes: Mapping[str, str], folds: int
) -> None:
    if groups.keys() != classes.keys():
        odd = sorted(groups.keys() ^ classes.keys())
        raise ValueError(
            f"{len(odd)} stem(s) have a group or a class but not both, first {odd[0]!r}"
        )
    count = len(set(groups.values()))
    if not 2 <= folds <= count:
        raise ValueError(
            f"{folds} folds of {count} group(s); expected at least 2 folds, and as "
            "many groups as folds or more; ask for fewer folds, or divide the data "
            "into more groups (slides or patients)"
        )
    most = max(Counter(classes.values()).values())
    if most < folds:
        raise ValueError(
            f"{folds} folds, but no class has more than {most} cell(s), so nothing can "
            "be spread evenly; ask for fewer folds"
        )


def _shuffled_numbers(names: set[str], seed: int) -> dict[str, int]:
    """Return group -> number; groups alike in content are dealt in number's order.

    The seed enters here and not through scikit-learn's own shuffling, which has
    changed from version to version.
    """
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    return dict(zip(sorted(names), order, strict=True))


def grouped_holdout(
    groups: Mapping[str, str],
    classes: Mapping[str, str],
    *,
    fraction: float = 0.2,
    seed: int = 0,
) -> dict[str, str]:
    """Return one split that tests about a fraction of the cells, in whole groups.

    The groups are dealt into equal folds, of which some are tested: for 0.3, three of
    ten. With few groups the nearest share that they allow is taken.

    Raises:
        ValueError: if the fraction leaves a part empty, or as ``grouped_folds``.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a holdout of {fraction}; expected more than 0, less than 1")
    most = min(len(set(groups.values())), max(Counter(classes.values()).values()))
    share = Fraction(fraction).limit_denominator(max(2, min(most, FINEST)))
    # A small share of few groups would be rounded to none of them, or to all.
    least = Fraction(1, max(2, most))
    share = min(max(share, least), 1 - least)
    folds = grouped_folds(groups, classes, folds=share.denominator, seed=seed)
    tested = list(folds.values())[: share.numerator]
    return {
        stem: "test" if any(parts[stem] == "test" for parts in tested) else "train"
        for stem in groups
    }


def fewer_groups(
    parts: Mapping[str, str],
    groups: Mapping[str, str],
    classes: Mapping[str, str],
    *,
    count: int,
    seed: int = 0,
) -> dict[str, str]:
    """Return a split that trains on fewer groups and tests the same cells.

    Groups are taken by the class of most of their cells, one of each class in turn, so
    that classes stay as even as they are. The groups of a smaller count are among those
    of a larger one with the same seed, as a learning curve needs.

    Raises:
        ValueError: if the split has not ``count`` groups to train on.
    """
    kinds: dict[str, Counter] = {}
    for stem, part in parts.items():
        if part == "train":
            kinds.setdefault(groups[stem], Counter())[classes[stem]] += 1
    if not 1 <= count <= len(kinds):
        raise ValueError(
            f"{count} group(s) to learn from; expected 1 up to the {len(kinds)} that "
            "the split has"
        )
    number_of = _shuffled_numbers(set(kinds), seed)
    queues: dict[str, list[str]] = {}
    for group in sorted(kinds, key=number_of.get):
        # The first name where two classes have as many cells.
        kind = max(sorted(kinds[group]), key=kinds[group].get)
        queues.setdefault(kind, []).append(group)
    turns = sorted(
        (turn, kind, group)
        for kind, queue in queues.items()
        for turn, group in enumerate(queue)
    )
    kept = {group for _, _, group in turns[:count]}
    return {s: p for s, p in parts.items() if p != "train" or groups[s] in kept}


def joined_groups(
    groups: Mapping[str, str], pairs: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Join groups of which two stems are a pair, under the first of their names."""
    joined_to: dict[str, str] = {}

    def first(group: str) -> str:
        while group in joined_to:
            group = joined_to[group]
        return group

    for one, other in pairs:
        early, late = sorted((first(groups[one]), first(groups[other])))
        if early != late:
            joined_to[late] = early
    return {stem: first(group) for stem, group in groups.items()}
