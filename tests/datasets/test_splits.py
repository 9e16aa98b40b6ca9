"""Who trains and who tests: slides stay whole, and the paper's splits are its own."""

from __future__ import annotations

import pytest

from leuko_mm.datasets.sampling import compose_fixed
from leuko_mm.datasets.splits import (
    random_cells,
    random_mosaics,
    shared_groups,
    slide_folds,
    split_mosaics,
)

STEMS = [f"c{i}" for i in range(268)]


def stems_tested(parts: dict) -> set[str]:
    return {stem for stem, part in parts.items() if part == "test"}


def test_fold_k_tests_slides_2k_minus_1_and_2k():
    slides = {f"{slide}_{cell}": slide for slide in range(1, 11) for cell in range(3)}
    folds = slide_folds(slides)
    assert list(folds) == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    for k in range(1, 6):
        parts = folds[f"fold{k}"]
        assert list(parts) == list(slides)
        assert {slides[s] for s in stems_tested(parts)} == {2 * k - 1, 2 * k}


@pytest.mark.parametrize(("slides", "folds"), [(7, 3), (10, 4), (5, 5), (2, 2)])
def test_every_slide_is_tested_by_one_fold(slides, folds):
    numbers = {f"s{i}_{j}": 10 * i for i in range(slides) for j in range(2)}
    made = slide_folds(numbers, folds=folds)
    counts = {
        stem: sum(stem in stems_tested(p) for p in made.values()) for stem in numbers
    }
    assert set(counts.values()) == {1}
    assert not any(shared_groups(p, {s: s[:2] for s in numbers}) for p in made.values())


@pytest.mark.parametrize(("slides", "folds"), [(4, 5), (4, 1), (4, 0)])
def test_too_few_slides_or_folds_are_refused(slides, folds):
    with pytest.raises(ValueError, match=f"{folds} folds of {slides} slides"):
        slide_folds({str(i): i for i in range(slides)}, folds=folds)


def test_random_cells_are_nine_to_one_and_given_by_the_seed():
    parts = random_cells(STEMS)
    assert list(parts) == STEMS
    assert len(stems_tested(parts)) == 27
    assert parts == random_cells(STEMS)
    assert parts != random_cells(STEMS, seed=1)
    assert len(stems_tested(random_cells(STEMS, test_fraction=0.5))) == 134


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.001, -0.2])
def test_a_fraction_that_empties_a_part_is_refused(fraction):
    for split in (
        lambda: random_cells(STEMS, test_fraction=fraction),
        lambda: split_mosaics(50, test_fraction=fraction, seed=0),
    ):
        with pytest.raises(ValueError, match="leaves train or test empty"):
            split()


def test_the_papers_order_composes_first_and_divides_mosaics():
    parts = random_mosaics(STEMS, seed=3)
    shares = split_mosaics(50, test_fraction=0.1, seed=3)
    composed = compose_fixed(268, 50, 4, seed=3)
    for part, count in (("train", 45), ("test", 5)):
        cells = {STEMS[c] for number in shares[part] for c in composed[number]}
        assert len(cells) == 4 * count
        assert cells == {stem for stem, of in parts.items() if of == part}


def test_too_few_cells_for_the_papers_order_are_refused():
    with pytest.raises(ValueError, match="50 mosaics of 3x3 need 450 cells, got 268"):
        random_mosaics(STEMS, n=3)


@pytest.mark.parametrize("seed", range(4))
def test_mosaics_are_divided_without_rest(seed):
    shares = split_mosaics(50, test_fraction=0.1, seed=seed)
    assert sorted(shares["train"] + shares["test"]) == list(range(50))
    assert shares["train"] == sorted(shares["train"])
    assert len(shares["test"]) == 5


def test_shared_groups_are_those_in_both_parts():
    groups = {"a": "s1", "b": "s1", "c": "s2", "d": "s3", "e": "s3"}
    parts = {"a": "train", "b": "test", "c": "test", "d": "train", "e": "test"}
    assert shared_groups(parts, groups) == ["s1", "s3"]
    assert shared_groups({"a": "train", "b": "train"}, groups) == []
    assert len(shared_groups(random_cells(list(groups), test_fraction=0.4), groups)) < 3
