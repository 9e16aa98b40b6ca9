"""Splits: groups stay whole, classes are spread, and the seed decides."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from leuko_mm.datasets.composition import compose_fixed
from leuko_mm.datasets.splits import (
    fewer_groups,
    grouped_folds,
    grouped_holdout,
    joined_groups,
    random_cells,
    random_mosaics,
    shared_groups,
    slide_folds,
)

STEMS = [f"c{i}" for i in range(268)]


def smears(slides: int, cells: int, kinds: int = 5) -> tuple[dict, dict]:
    """Return groups and classes of slides that hold every class alike."""
    groups, classes = {}, {}
    for slide in range(slides):
        for kind in range(kinds):
            for cell in range(cells):
                stem = f"{kind}_{slide}_{cell}"
                groups[stem], classes[stem] = f"slide{slide}", f"class{kind}"
    return groups, classes


def stems_tested(parts: dict) -> set[str]:
    return {stem for stem, part in parts.items() if part == "test"}


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_groups_stay_whole_and_every_cell_is_tested_once(folds, seed):
    rng = np.random.default_rng(seed)
    groups = {f"c{i}": f"g{rng.integers(13)}" for i in range(200)}
    classes = {stem: f"k{rng.integers(4)}" for stem in groups}
    made = grouped_folds(groups, classes, folds=folds, seed=seed)
    assert list(made) == [f"fold{k}" for k in range(1, folds + 1)]
    for parts in made.values():
        assert list(parts) == list(groups)
        assert set(parts.values()) == {"train", "test"}
        assert shared_groups(parts, groups) == []
    times = Counter(stem for parts in made.values() for stem in stems_tested(parts))
    assert times == dict.fromkeys(groups, 1)


def test_classes_are_spread_evenly_where_groups_allow_it():
    # One class a group, as in BCISC: two groups of each class in every test part.
    groups, classes = smears(10, 3)
    groups = {stem: f"{classes[stem]}_{group}" for stem, group in groups.items()}
    for parts in grouped_folds(groups, classes).values():
        counts = Counter(classes[stem] for stem in stems_tested(parts))
        assert counts == dict.fromkeys(classes.values(), 6)


def test_the_seed_decides_and_the_order_of_the_stems_does_not():
    groups, classes = smears(10, 2)
    made = grouped_folds(groups, classes, seed=3)
    backward = dict(reversed(groups.items()))
    again = grouped_folds(backward, classes, seed=3)
    assert again == made
    assert list(again["fold1"]) == list(backward)
    assert grouped_folds(groups, classes, seed=4) != made


def test_the_deal_is_pinned():
    groups, classes = smears(6, 1, kinds=2)
    made = grouped_folds(groups, classes, folds=3, seed=0)
    of = [
        sorted({groups[s][-1] for s in stems_tested(parts)}) for parts in made.values()
    ]
    assert of == [["0", "4"], ["3", "5"], ["1", "2"]]


@pytest.mark.parametrize(("slides", "folds"), [(4, 5), (3, 1), (3, 0), (1, 2)])
def test_too_few_groups_or_folds_are_refused(slides, folds):
    groups, classes = smears(slides, 9)
    with pytest.raises(ValueError, match=rf"{folds} folds of {slides} group"):
        grouped_folds(groups, classes, folds=folds)


def test_classes_too_rare_to_be_spread_are_refused():
    alone = {f"c{i}": f"g{i}" for i in range(6)}
    with pytest.raises(ValueError, match="no class has more than 1 cell"):
        grouped_folds(alone, alone, folds=5)


def test_one_rare_class_is_neither_refused_nor_warned_of():
    groups, classes = smears(6, 1)
    classes["0_0_0"] = "rare"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(grouped_folds(groups, classes, folds=5)) == 5


@pytest.mark.parametrize(
    ("fraction", "slides"), [(0.2, 4), (0.3, 6), (0.5, 10), (0.01, 1), (0.99, 19)]
)
def test_a_holdout_tests_the_nearest_share_of_whole_groups(fraction, slides):
    groups, classes = smears(20, 5)
    parts = grouped_holdout(groups, classes, fraction=fraction)
    assert list(parts) == list(groups)
    assert shared_groups(parts, groups) == []
    assert len({groups[stem] for stem in stems_tested(parts)}) == slides
    counts = Counter(classes[stem] for stem in stems_tested(parts))
    assert set(counts.values()) == {5 * slides}


def test_a_holdout_of_few_groups_keeps_one_on_each_side():
    groups, classes = smears(2, 3)
    for fraction in (0.01, 0.2, 0.9):
        assert (
            len(stems_tested(grouped_holdout(groups, classes, fraction=fraction))) == 15
        )
    with pytest.raises(ValueError, match="2 folds of 1 group"):
        grouped_holdout(*smears(1, 3))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 3])
def test_a_holdout_of_nothing_or_all_is_refused(fraction):
    with pytest.raises(ValueError, match=f"a holdout of {fraction}"):
        grouped_holdout(*smears(5, 1), fraction=fraction)


def test_groups_are_joined_along_chains_of_copies():
    groups = {"a": "s4", "b": "s3", "c": "s2", "d": "s1", "e": "s5", "f": "s5"}
    pairs = [("a", "b"), ("c", "d"), ("b", "c"), ("e", "f"), ("a", "d")]
    joined = joined_groups(groups, pairs)
    assert joined == dict.fromkeys("abcd", "s1") | dict.fromkeys("ef", "s5")
    assert list(joined) == list(groups)
    assert joined_groups(groups, []) == groups


def test_fewer_groups_are_nested_even_and_test_the_same_cells():
    classes = {f"{k}{g}_{i}": k for k in "abc" for g in range(8) for i in range(3)}
    groups = {stem: stem.split("_")[0] for stem in classes}
    parts = {s: "test" if g[1] in "67" else "train" for s, g in groups.items()}

    def fewer(count, seed=0):
        return fewer_groups(parts, groups, classes, count=count, seed=seed)

    former: set = set()
    for count in range(1, 19):
        made = fewer(count)
        assert {s for s, p in made.items() if p == "test"} == {
            s for s, p in parts.items() if p == "test"
        }
        learnt = {groups[s] for s, p in made.items() if p == "train"}
        assert len(learnt) == count
        assert former < learnt
        of_kind = [sum(group[0] == kind for group in learnt) for kind in "abc"]
        assert max(of_kind) - min(of_kind) <= 1
        # Whole groups.
        assert sum(p == "train" for p in made.values()) == 3 * count
        former = learnt
    assert fewer(18) == parts
    assert fewer(6, seed=1) != fewer(6)
    for count in (0, 19):
        with pytest.raises(ValueError, match="1 up to the 18 that the split has"):
            fewer(count)


def test_fold_k_tests_slides_2k_minus_1_and_2k():
    slides = {f"{slide}_{cell}": slide for slide in range(1, 11) for cell in range(3)}
    folds = slide_folds(slides)
    assert list(folds) == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    for k in range(1, 6):
        parts = folds[f"fold{k}"]
        assert list(parts) == list(slides)
        assert {slides[s] for s in stems_tested(parts)} == {2 * k - 1, 2 * k}


def test_random_cells_are_nine_to_one_and_given_by_the_seed():
    parts = random_cells(STEMS)
    assert list(parts) == STEMS
    assert len(stems_tested(parts)) == 27
    assert parts == random_cells(STEMS)
    assert parts != random_cells(STEMS, seed=1)
    assert len(stems_tested(random_cells(STEMS[:4]))) == 1


def test_the_papers_order_composes_first_and_divides_mosaics():
    parts = random_mosaics(STEMS, seed=3)
    sides = [
        {parts[STEMS[cell]] for cell in mosaic}
        for mosaic in compose_fixed(268, 50, 4, seed=3)
    ]
    assert sorted(map(sorted, sides)) == [["test"]] * 5 + [["train"]] * 45


def test_shared_groups_are_those_in_both_parts():
    groups = {"a": "s1", "b": "s1", "c": "s2", "d": "s3", "e": "s3"}
    parts = {"a": "train", "b": "test", "c": "test", "d": "train", "e": "test"}
    assert shared_groups(parts, groups) == ["s1", "s3"]
    assert shared_groups({"a": "train", "b": "train"}, groups) == []
