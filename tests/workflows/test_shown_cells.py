"""Which cells a page shows, and what it says of each."""

import numpy as np

from leuko_mm.evaluation.leukocyte_metric import Cells
from leuko_mm.report.run_report import ClassLabel, PixelRow
from leuko_mm.workflows.predictions import PredictedImage
from leuko_mm.workflows.shown_cells import cell_cards, choose_cells

LABELS = tuple(
    ClassLabel(name, name[:3], (0, 0, 0))
    for name in ("background", "basophil", "eosinophil")
)


def confusion(right, wrong=0):
    """Return a cell of class 1 with so many right pixels and so many of class 2."""
    return np.array([[90, 0, 0], [0, right, wrong], [0, 0, 0]])


def chosen(cells, **counts):
    found = choose_cells(np.array(cells), **counts)
    return [(cell.row, cell.rank, cell.chosen_as) for cell in found]


def test_the_worst_and_the_best_are_chosen_in_order():
    cells = [confusion(n, 10 - n) for n in (5, 9, 1, 7, 3)]
    assert chosen(cells, worst=2, best=1) == [
        (2, 1, "worst"),
        (4, 2, "worst"),
        (1, 5, "best"),
    ]


def test_no_cell_is_shown_twice():
    cells = [confusion(n, 10 - n) for n in (5, 9, 1)]
    assert [row for row, _, _ in chosen(cells, worst=2, best=2)] == [2, 0, 1]
    assert len(chosen(cells)) == 3
    assert chosen(cells, worst=0, best=0) == []


def test_equals_keep_their_order_and_empty_tiles_are_left_out():
    cells = [confusion(0), confusion(5), confusion(5), confusion(0)]
    assert [row for row, _, _ in chosen(cells)] == [1, 2]


def test_cards_tell_each_cell_its_own():
    matrices = np.stack([confusion(4, 12), confusion(10)])
    cells = Cells(np.array(["a", "b"]), np.array(["g", ""]), matrices)
    image = np.full((2, 2, 3), 7, np.uint8)
    mask = np.ones((2, 2), np.uint8)
    picture = PredictedImage(image, None, mask, 2 * mask, ((0, 0, 2, 2),))
    bad, good = cell_cards(cells, choose_cells(matrices), {0: picture}, LABELS)
    assert (bad.stem, bad.group, bad.rank, bad.truth, bad.majority) == (
        "a",
        "g",
        1,
        1,
        2,
    )
    assert bad.dice == 100 * 2 * 4 / (16 + 16)
    assert bad.image is image
    assert bad.predicted_labels.max() == 2
    assert bad.pixels == (
        PixelRow(LABELS[0], 90, 90, 90),
        PixelRow(LABELS[1], 16, 4, 4),
        PixelRow(LABELS[2], 0, 12, 0),
    )
    assert good.dice == 100
    assert good.image is None
    assert len(good.pixels) == 2
