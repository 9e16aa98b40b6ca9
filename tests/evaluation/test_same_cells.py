import numpy as np
import pytest

from leuko_mm.evaluation.same_cells import DifferentCellsError, same_cells


def run(stems="abcd", groups="ggkk", classes=(1, 1, 2, 2), num_classes=3, seed=0):
    counts = np.random.default_rng(seed).integers(0, 9, (len(stems), num_classes) * 1)
    confusion = np.zeros((len(stems), num_classes, num_classes), int)
    confusion[np.arange(len(stems)), classes] = counts + 1
    return np.array(list(stems)), np.array(list(groups)), confusion


def test_brings_both_into_one_order():
    first, second = run(), run(seed=1)
    order = [2, 0, 3, 1]
    moved = tuple(side[order] for side in second)
    one, two, groups = same_cells(first, moved)
    assert (one == first[2]).all()
    assert (two == second[2]).all()
    assert groups.tolist() == list("ggkk")


def test_the_nth_of_a_stem_meets_the_nth():
    first = run("aabb")
    second = run("baba", "kgkg", (2, 1, 2, 1), seed=1)
    _, two, _ = same_cells(first, second)
    assert (two == second[2][[1, 3, 0, 2]]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (run("abcx"), r"4 and 4 tested cells, 2 of them in one run only, such as d, x"),
        (run("abc", "ggk", (1, 1, 2)), "4 and 3 tested cells, 1 of them"),
        (run("aabcd", "gggkk", (1, 1, 1, 2, 2)), "4 and 5 tested cells, 0 of them"),
        (run(groups="gkkk"), "1 cells have another group .* such as b"),
        (run(classes=(1, 1, 2, 1)), "1 cells have another group .* such as d"),
        (run(num_classes=4), r"shape \(4, 3, 3\) and \(4, 4, 4\)"),
    ],
)
def test_runs_with_different_cells_are_refused(other, message):
    with pytest.raises(DifferentCellsError, match=message):
        same_cells(run(), other)
