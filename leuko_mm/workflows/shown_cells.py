"""Which test cells a run's page shows, and what it says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.evaluation.cell_scores import cell_dice, majority_classes
from leuko_mm.evaluation.leukocyte_metric import Cells
from leuko_mm.report.run_report import CellCard, ClassLabel, PixelRow
from leuko_mm.workflows.predictions import PredictedImage

WORST, BEST = 10, 6


@dataclass(frozen=True)
class ChosenCell:
    """A row of ``cells.npz``, its rank among all cells, and why it is shown."""

    row: int
    rank: int
    chosen_as: str


def choose_cells(
    confusion: np.ndarray, *, worst: int = WORST, best: int = BEST
) -> list[ChosenCell]:
    """Choose the cells with the lowest and the highest Dice, the worst first.

    Cells without any cell pixel, true or predicted, have no Dice and are left out;
    equals keep their order.

    Args:
        confusion: of every test cell, rows truth, columns prediction.
        worst, best: how many of each; where cells are few, the worst come first.

    Shape:
        (N, C, C).

    Example:
        >>> right, wrong = [[5, 0], [0, 5]], [[5, 0], [5, 0]]
        >>> cells = np.array([right, wrong, right])
        >>> [(c.row, c.rank, c.chosen_as) for c in choose_cells(cells, worst=1, best=1)]
        [(1, 1, 'worst'), (2, 3, 'best')]
    """
    dice = cell_dice(confusion)
    order = np.argsort(dice, kind="stable")  # NaN comes last
    order = order[: np.isfinite(dice).sum()]
    ranked = [(rank, int(row)) for rank, row in enumerate(order, 1)]
    low = ranked[:worst]
    high = ranked[max(len(low), len(ranked) - best) :]
    return [ChosenCell(row, rank, "worst") for rank, row in low] + [
        ChosenCell(row, rank, "best") for rank, row in high
    ]


def cell_cards(
    cells: Cells,
    chosen: Sequence[ChosenCell],
    pictures: Mapping[int, PredictedImage],
    labels: Sequence[ClassLabel],
) -> tuple[CellCard, ...]:
    """Gather what is told of the chosen cells.

    Args:
        cells: of the whole test.
        chosen: rows of it, in the order of the page.
        pictures: by row; a row without one is told without pictures.
        labels: of the classes, by id.
    """
    rows = [cell.row for cell in chosen]
    confusion = cells.confusion[rows]
    dice = cell_dice(confusion)
    truth, majority = majority_classes(confusion)
    cards = []
    for place, cell in enumerate(chosen):
        picture = pictures.get(cell.row)
        shown = picture and dict(
            image=picture.image,
            enhanced=picture.enhanced,
            true_labels=picture.truth,
            predicted_labels=picture.prediction,
        )
        cards.append(
            CellCard(
                stem=str(cells.stem[cell.row]),
                group=str(cells.group[cell.row]),
                rank=cell.rank,
                chosen_as=cell.chosen_as,
                dice=float(dice[place]),
                truth=int(truth[place]),
                majority=int(majority[place]),
                pixels=_pixels(confusion[place], labels),
                **(shown or {}),
            )
        )
    return tuple(cards)


def _pixels(
    confusion: np.ndarray, labels: Sequence[ClassLabel]
) -> tuple[PixelRow, ...]:
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        PixelRow(label, int(true[i]), int(predicted[i]), int(confusion[i, i]))
        for i, label in enumerate(labels)
        if true[i] or predicted[i]
    )
