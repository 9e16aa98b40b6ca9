"""Section of the report on differences between results on the same cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leuko_mm.report.comparison import Cell, ResultTable, Section, TableRow
from leuko_mm.workflows.pooled_results import FIVE_FOLDS, Result, shown_families
from leuko_mm.workflows.report_measurements import (
    Compared,
    differences_to,
    measured,
    paper_method,
)
from leuko_mm.workflows.report_sections import COMPARED
from leuko_mm.workflows.report_words import (
    RANDOM,
    encoder_of,
    precision_note,
    protocol_words,
    setting_of,
)
from leuko_mm.workflows.settings import SAME_AS, SETTINGS

# What ``difference_cells`` fills.
HEADS = tuple(
    f"{name}{what}"
    for name in ("mIoU", "pixel accuracy")
    for what in ("", ", p", ", Holm")
)
BY_FOLD = "mIoU, by fold"
WORDS = {"method", "setting", "encoder", BY_FOLD}


def differences(results: Sequence[Result]) -> Section:
    """Return the paired differences to the CBAM U-Net under each setting."""
    tables = []
    for members in (m for m in shown_families(results) if len(m) > 1):
        for words, reference, kind in _kinds(members):
            if any(result is not reference for result in kind):
                number = len(tables) + 1
                tables.append(_differences(reference, kind, words, number))
    lead = (
        "Each row minus the CBAM U-Net on the same cells, in points of percent, with "
        "95 % intervals over slides, then cells. p is two-sided, of a permutation test "
        "that swaps whole slides: in all 1,024 ways where there are ten, so that no p "
        "is below 0.0020, else in 2,000 random ways, of which a p of 0.005 is known to "
        "within about 0.003. Beside it stands p after Holm's correction over its "
        "column. Interval and p are of these trained networks, not of their methods: "
        "all slides of a fold share one network, and of every recipe one training "
        "stands here. Over five folds the difference of each fold tells how much a "
        "result depends on one training. Methods are compared under one setting, but "
        "on single cells: there the paper's Table 2 compares whole recipes, its method "
        "with enhancement and loss (B), the others without (A). Those that start from "
        "random weights have tables of their own, since the CBAM U-Net starts from "
        "ImageNet's; so have ablations and other post-processing. U-Net on VGG16 is a "
        "method and an ablation, and Holm's correction is of each table by itself."
        if tables
        else "No two methods are published on the same cells and trained alike yet."
    )
    return Section("differences", "Differences on the same cells", lead, tuple(tables))


def _kinds(
    members: Sequence[Result],
) -> list[tuple[str, Result, list[Result]]]:
    """Divide a family into methods under each setting, and the rest.

    Returns:
        What each part is of, what it is compared with, and its results.
    """
    found = []
    for name in SETTINGS:
        kind = [r for r in members if r.variant == name and not r.first.reading]
        reference = paper_method(kind) or paper_method(members)
        if reference is None:
            return []
        alike = [r for r in kind if _random(r) == _random(reference)]
        apart = [r for r in kind if _random(r) != _random(reference)]
        found.append((f"Setting {name}", reference, alike))
        start = "pretrained encoders" if _random(reference) else "from random weights"
        found.append((f"Setting {name}, {start}", reference, apart))
    rest = [r for r in members if r.variant not in SETTINGS or r.first.reading]
    if any(result.method == "unet_vgg16" for result in rest):
        # Rows of the ablation that are methods under a setting, too.
        known = {id(result) for result in rest}
        rest += [
            result
            for result in members
            if (result.method, result.variant) in SAME_AS and id(result) not in known
        ]
    reference = paper_method(rest) or paper_method(members)
    return [*found, ("Ablations and other post-processing", reference, rest)]


def _random(result: Result) -> bool:
    return encoder_of(result) == RANDOM


def _differences(
    reference: Result, members: Sequence[Result], kind: str, number: int
) -> ResultTable:
    return difference_table(
        f"differences_{number}",
        f"{kind}, against {reference.name}: {protocol_words(reference)}",
        reference,
        members,
        third=("encoder", encoder_of),
        note=precision_note([reference, *members]),
    )


def difference_table(
    name: str,
    title: str,
    reference: Result,
    members: Sequence[Result],
    *,
    third: tuple[str, Callable[[Result], Cell]],
    note: str = "",
) -> ResultTable:
    """Return the differences of results to one of them on the same cells.

    Over five folds the last column has the difference of each, which is one training.

    Args:
        name, title: of the table.
        reference: what the others are compared with.
        members: the others; the reference among them is passed over.
        third: head and content of the column behind method and setting.
        note: what a reader must know; results of other cells are named behind it.
    """
    others = [member for member in members if member is not reference]
    found, odd = differences_to(reference, others, COMPARED)
    folds = reference.scope == FIVE_FOLDS
    head, content = third
    columns = ("method", "setting", head, *HEADS, *[BY_FOLD] * folds)
    rows = [
        TableRow(
            (
                c.first.method,
                setting_of(c.first),
                content(c.first),
                *difference_cells(c),
            ),
            c.first.links,
        )
        for c in sorted(found, key=lambda c: -c.differences["mIoU"].value)
    ]
    return ResultTable(
        name,
        title,
        columns,
        tuple(rows),
        note=" ".join(filter(None, (note, *odd))),
        words=tuple(i for i, column in enumerate(columns) if column in WORDS),
    )


def difference_cells(compared: Compared, *, corrected: bool = True) -> tuple[Cell, ...]:
    """Return the differences with their p values, and over folds those of each.

    Args:
        compared: two results.
        corrected: whether p after Holm's correction stands beside p.
    """
    cells: list[Cell] = []
    for name in COMPARED:
        difference = compared.differences[name]
        cells += [measured(difference), f"{difference.p:.4f}"]
        cells += [f"{compared.corrected[name]:.4f}"] * corrected
    return (*cells, *[_by_fold(compared)] * (compared.second.scope == FIVE_FOLDS))


def _by_fold(compared: Compared) -> str:
    """Return the difference in mean IoU of every fold."""
    both = zip(compared.first.runs, compared.second.runs, strict=True)
    apart = (one.mean_iou - two.mean_iou for one, two in both)
    # Adding 0 takes the sign off what is rounded to -0.0.
    return "; ".join(f"{round(points, 1) + 0:.1f}" for points in apart)
