"""Section of the report on differences between results on the same cells."""

from __future__ import annotations

from collections.abc import Sequence

from leuko_mm.report.comparison import ResultTable, Section, TableRow
from leuko_mm.workflows.figures_methods import SAME_AS
from leuko_mm.workflows.pooled_results import Result, shown_families
from leuko_mm.workflows.report_measurements import (
    Compared,
    differences_to,
    measured,
    paper_method,
)
from leuko_mm.workflows.report_sections import COMPARED
from leuko_mm.workflows.report_words import encoder_of, protocol_words, setting_of
from leuko_mm.workflows.settings import SETTINGS

# What ``cells_of`` fills.
HEADS = tuple(
    f"{name}{what}"
    for name in ("mIoU", "pixel accuracy")
    for what in ("", ", p", ", Holm")
)


def differences(results: Sequence[Result]) -> Section:
    """Return the paired differences to the CBAM U-Net under each setting."""
    tables = []
    for members in (m for m in shown_families(results) if len(m) > 1):
        for words, kind in _kinds(members):
            reference = paper_method(kind) or paper_method(members)
            if reference is not None and any(r is not reference for r in kind):
                number = len(tables) + 1
                tables.append(_differences(reference, kind, words, number))
    lead = (
        "Each row minus the CBAM U-Net on the same cells, in points of percent, with "
        "95 % intervals over slides, then cells. p is two-sided, of a permutation test "
        "that swaps whole slides; beside it stands p after Holm's correction over the "
        "table. Methods are compared under one setting; what else was tried, "
        "ablations, other post-processing, is a table of its own. A method whose "
        "encoder started from other weights differs in these, too."
        if tables
        else "No two methods are published on the same cells and trained alike yet."
    )
    return Section("differences", "Differences on the same cells", lead, tuple(tables))


def _kinds(members: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Divide a family into methods under each setting, and the rest."""
    kinds: dict[str, list[Result]] = {f"Setting {name}": [] for name in SETTINGS}
    rest = []
    for result in members:
        plain = result.variant in SETTINGS and not result.first.reading
        (kinds[f"Setting {result.variant}"] if plain else rest).append(result)
    if any(result.method == "unet_vgg16" for result in rest):
        # Rows of the ablation that are methods under a setting, too.
        known = {id(result) for result in rest}
        rest += [
            result
            for result in members
            if (result.method, result.variant) in SAME_AS and id(result) not in known
        ]
    return [*kinds.items(), ("Ablations and other post-processing", rest)]


def _differences(
    reference: Result, members: Sequence[Result], kind: str, number: int
) -> ResultTable:
    others = [member for member in members if member is not reference]
    found, odd = differences_to(reference, others, COMPARED)
    rows = [
        TableRow(
            (
                c.first.method,
                setting_of(c.first),
                encoder_of(c.first),
                *cells_of(c),
            ),
            c.first.links,
        )
        for c in sorted(found, key=lambda c: -c.differences["mIoU"].value)
    ]
    return ResultTable(
        f"differences_{number}",
        f"{kind}, against {reference.name}: {protocol_words(reference)}",
        (
            "method",
            "setting",
            "encoder",
            *HEADS,
        ),
        tuple(rows),
        note=" ".join(odd),
        words=(0, 1, 2),
    )


def cells_of(compared: Compared) -> tuple:
    """Return the differences, each with its p value before and after Holm."""
    return tuple(
        cell
        for name in COMPARED
        for cell in (
            measured(compared.differences[name]),
            f"{compared.differences[name].p:.4f}",
            f"{compared.corrected[name]:.4f}",
        )
    )
