"""Section of the report on trainings that differ in nothing but their seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from leuko_mm.evaluation.seed_deviation import seed_deviation
from leuko_mm.report.comparison import ResultFigure, ResultTable, Section, TableRow
from leuko_mm.report.comparison_plots import Plot, PlotPoint, PlotSeries
from leuko_mm.workflows.pooled_results import (
    FIVE_FOLDS,
    FOLDS,
    recipe_of,
    results_of,
)
from leuko_mm.workflows.published_runs import PublishedRun
from leuko_mm.workflows.report_differences import BY_FOLD, HEADS, difference_cells
from leuko_mm.workflows.report_measurements import differences_to, paper_method
from leuko_mm.workflows.report_plots import WORDS, named_links
from leuko_mm.workflows.report_sections import CLASS_COUNT, COMPARED, SHOWN
from leuko_mm.workflows.report_words import protocol_words, setting_of
from leuko_mm.workflows.seed_trainings import Trainings, repeated

# A picture of one fold would say no more than the table.
LEAST_FOLDS = 2
LEAD = (
    "The same recipe on the same cells with another seed: it draws the weights of the "
    "decoder, and the order of the images and how each is changed. All other sections "
    "show the lowest seed alone."
)


def other_seeds(runs: Iterable[PublishedRun]) -> Section:
    """Return what was trained with several seeds, and how much that changed.

    Args:
        runs: what is published, of all seeds.
    """
    found = repeated(results_of(runs))
    if not found:
        return Section(
            "seeds",
            "Other seeds",
            "Nothing is published with two seeds, so how much one training differs "
            "from the next is not known.",
        )
    tables, figures = [], []
    for number, members in enumerate(_by_test(found), 1):
        tables.append(_trainings_table(members, number))
        tables.append(_deviations_table(members, number))
        tables += _difference_tables(members, number)
        figures += _figures(members, number)
    return Section("seeds", "Other seeds", LEAD, tuple(tables), tuple(figures))


def _by_test(found: Iterable[Trainings]) -> list[list[Trainings]]:
    """Divide by protocol, length and images; recipes and folds in their order."""
    groups: dict[tuple, list[Trainings]] = defaultdict(list)
    for one in sorted(found, key=_order):
        groups[one.first.first.likeness].append(one)
    return [groups[key] for key in sorted(groups, key=str)]


def _order(one: Trainings) -> tuple:
    first = one.first
    return first.method, setting_of(first), first.scope == FIVE_FOLDS, first.scope


def _heads(members: Sequence[Trainings]) -> dict[str, str]:
    many = members[0].first.confusion.shape[-1] == CLASS_COUNT
    return {name: SHOWN[name] for name in (*COMPARED, *["right_class"] * many)}


def _trainings_table(members: Sequence[Trainings], number: int) -> ResultTable:
    heads = _heads(members)
    rows = [
        TableRow(
            (
                one.first.method,
                setting_of(one.first),
                one.first.scope,
                _listed(one.seeds),
                *(_listed(f"{v:.2f}" for v in one.values(name)) for name in heads),
            ),
            one.links,
        )
        for one in members
    ]
    columns = ("method", "setting", "test", "seeds", *heads.values())
    return ResultTable(
        f"seeds_{number}",
        f"Every training: {_words(members)}",
        columns,
        tuple(rows),
        lead="Percent, in the order of the seeds.",
        words=tuple(range(len(columns))),
    )


def _deviations_table(members: Sequence[Trainings], number: int) -> ResultTable:
    recipes: dict[tuple, list[Trainings]] = defaultdict(list)
    for one in members:
        if one.first.scope != FIVE_FOLDS:
            recipes[recipe_of(one.first.first)].append(one)
    heads, rows = _heads(members), []
    for tests in recipes.values():
        found = [seed_deviation(one.values(name) for one in tests) for name in heads]
        first, points = tests[0].first, (deviation.value for deviation in found)
        cells = first.method, setting_of(first), found[0].freedom
        mean = found[0].value / math.sqrt(len(FOLDS))
        links = tuple(link for one in tests for link in one.links)
        rows.append(TableRow((*cells, *points, mean), links))
    return ResultTable(
        f"seeds_deviation_{number}",
        f"How much one training differs from the next: {_words(members)}",
        (
            "method",
            "setting",
            "degrees of freedom",
            *heads.values(),
            "mIoU, mean of five trainings",
        ),
        tuple(rows),
        lead="Standard deviation in points of percent between trainings of one recipe "
        "that are tested on the same cells, pooled over the tests. With f degrees of "
        "freedom it is known to about one part in the square root of 2 f. The last "
        "column is the first divided by the square root of five: what five folds, "
        "each trained once, would differ by if all were trained again.",
        words=(0, 1),
    )


def _difference_tables(
    members: Sequence[Trainings], number: int
) -> Iterable[ResultTable]:
    """Compare recipes that have the same seeds, on the widest test that they share."""
    tests: dict[tuple, list[Trainings]] = defaultdict(list)
    for one in members:
        cells = tuple(sorted(one.first.stems.tolist()))
        tests[one.first.scope, one.seeds, cells].append(one)
    whole = [key for key in tests if key[0] == FIVE_FOLDS and len(tests[key]) > 1]
    for key in whole or tests:
        reference = paper_method([one.first for one in tests[key]])
        if reference is None or len(tests[key]) == 1:
            continue
        (base,) = (one for one in tests[key] if one.first is reference)
        others = [one for one in tests[key] if one is not base]
        folds = [BY_FOLD] * (reference.scope == FIVE_FOLDS)
        heads = [head for head in HEADS if not head.endswith("Holm")]
        seeds = "_".join(map(str, base.seeds))
        yield ResultTable(
            f"seeds_differences_{number}_{reference.scope.replace(' ', '_')}_{seeds}",
            f"Against {reference.name} of the same seed: {protocol_words(reference)}",
            ("method", "setting", "seed", *heads, *folds),
            tuple(row for one in others for row in _difference_rows(one, base)),
            lead="As among the differences on the same cells, but without correction. "
            "In a method's last row every cell is tested by the trainings of all its "
            "seeds, and their pixels are counted together.",
            words=(0, 1, 2, *[3 + len(heads)] * len(folds)),
        )


def _difference_rows(one: Trainings, base: Trainings) -> Iterable[TableRow]:
    whole = (*one.links, *base.links)
    rows = [
        (other, own, str(other.seed), (*named_links(other), *named_links(own)))
        for other, own in zip(one.results, base.results, strict=True)
    ]
    rows.append((one.together, base.together, f"{_listed(one.seeds)} together", whole))
    for other, own, seed, links in rows:
        (compared,), _ = differences_to(own, [other], COMPARED)
        words = one.first.method, setting_of(one.first), seed
        yield TableRow((*words, *difference_cells(compared, corrected=False)), links)


def _figures(members: Sequence[Trainings], number: int) -> Iterable[ResultFigure]:
    folds = [one for one in members if one.first.scope in FOLDS]
    if len({one.first.scope for one in folds}) < LEAST_FOLDS:
        return
    lines: dict[str, list[PlotPoint]] = defaultdict(list)
    for one in folds:
        fold = FOLDS.index(one.first.scope) + 1
        recipe = f"{one.first.method} {one.first.variant or 'own'}"
        for seed, value in zip(one.seeds, one.values("mIoU"), strict=True):
            lines[f"{recipe}, seed {seed}"].append(PlotPoint(fold, value))
    series = tuple(PlotSeries(name, tuple(points)) for name, points in lines.items())
    yield ResultFigure(
        f"seeds_{number}",
        f"Mean IoU of every training: {_words(members)}",
        Plot(series, "fold", WORDS["mIoU"]),
        "A point is one training. Points of one recipe and fold differ in the seed "
        "alone.",
        tuple(link for one in folds for link in one.links),
    )


def _words(members: Sequence[Trainings]) -> str:
    first = members[0].first.first
    return f"{first.folder}, {first.iterations} iterations"


def _listed(values: Iterable) -> str:
    return "; ".join(map(str, values))
