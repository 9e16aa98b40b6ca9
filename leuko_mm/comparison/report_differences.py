"""Sections of the report on differences, seeds, the development fold and leakage."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from leuko_mm.comparison.measurements import (
    CLASS_COUNT,
    COMPARED,
    RANDOM,
    RESAMPLES,
    SEED,
    SHOWN,
    Compared,
    Measurements,
    Trainings,
    differences_to,
    encoder_of,
    measured,
    named_links,
    paper_method,
    precision_note,
    protocol_words,
    repeated,
    setting_of,
    setting_words,
)
from leuko_mm.comparison.report_plots import METRIC_LABELS
from leuko_mm.comparison.results import (
    DEVELOPMENT,
    DEVELOPMENT_FOLD,
    FIVE_FOLDS,
    FOLDS,
    LEAST_ITERATIONS,
    PublishedRun,
    Result,
    recipe_of,
    results_of,
    shown_families,
    single_folds,
)
from leuko_mm.evaluation.statistics import independent_difference, seed_deviation
from leuko_mm.report.comparison import (
    Cell,
    ResultFigure,
    ResultTable,
    Section,
    TableRow,
)
from leuko_mm.report.plots import Plot, PlotPoint, PlotSeries
from leuko_mm.training.config import SAME_AS, SETTINGS

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
        Plot(series, "fold", METRIC_LABELS["mIoU"]),
        "A point is one training. Points of one recipe and fold differ in the seed "
        "alone.",
        tuple(link for one in folds for link in one.links),
    )


def _words(members: Sequence[Trainings]) -> str:
    first = members[0].first.first
    return f"{first.folder}, {first.iterations} iterations"


def _listed(values: Iterable) -> str:
    return "; ".join(map(str, values))


# Splits that put cells of one slide on both sides.
LEAKING = ("paper_mosaics", "paper")
LEAKAGE_HEADS = (
    "method",
    "setting",
    "split",
    "mIoU",
    "minus the folds by slide",
    "pixel accuracy",
    "minus the folds by slide",
)


def leakage(results: Sequence[Result], figures: Measurements) -> Section:
    """Return what a random split adds to the figures of the same training."""
    tables = []
    for honest, leaking in _pairs(results):
        rows = [_leakage_row(honest, None, figures)]
        rows += [_leakage_row(result, honest, figures) for result in leaking]
        tables.append(
            ResultTable(
                f"leakage_{len(tables) + 1}",
                f"{honest.name}: {protocol_words(honest)}",
                LEAKAGE_HEADS,
                tuple(rows),
                words=(0, 1, 2),
            )
        )
    lead = (
        "The same method, trained anew and equally long on images of the same size. "
        "The split paper divides cells at random, paper_mosaics mosaics of cells, as "
        "the paper did: both put a slide on both sides. A difference is not of the "
        "split alone: they test other cells than the folds, and learn from other "
        "numbers of them. It is not paired; its interval is over slides, then cells."
        if tables
        else "No training on the splits paper or paper_mosaics is published beside one "
        "of the same length on folds that divide no slide."
    )
    return Section("leakage", "What a random split adds", lead, tuple(tables))


def _pairs(results: Sequence[Result]) -> list[tuple[Result, list[Result]]]:
    """Return each honest result with the leaking ones that were trained alike."""
    found = []
    candidates = [r for r in results if r.scope == FIVE_FOLDS]
    candidates += [r for r in results if r.scope.startswith("fold")]
    candidates += single_folds(results)
    done = set()
    for honest in candidates:
        key = _training(honest)
        leaking = [
            r for s in LEAKING for r in results if r.scope == s and _training(r) == key
        ]
        if leaking and key not in done:
            done.add(key)
            found.append((honest, leaking))
    return found


def _training(result: Result) -> tuple:
    run = result.first
    size = run.results["data"].get("size")
    # How mosaics are dealt is a matter of the split itself.
    where = run.folder, run.results["data"]["dataset"], size, run.tiles
    return (*where, run.iterations, result.method, result.variant, result.seed)


def _leakage_row(
    result: Result, honest: Result | None, figures: Measurements
) -> TableRow:
    cells: list = [result.method, setting_of(result)]
    cells.append(f"{result.scope}, {len(result.stems)} cells")
    for name in COMPARED:
        cells.append(figures.of(result, [name])[name])
        if honest is None:
            cells.append(None)
            continue
        sides = ((r.confusion, r.groups) for r in (result, honest))
        how = dict(resamples=RESAMPLES, seed=SEED)
        cells.append(measured(independent_difference(*sides, name, **how)))
    return TableRow(tuple(cells), result.links)


def too_short(runs: Sequence[PublishedRun]) -> Section | None:
    """Return the runs whose figures are not printed, None if there are none."""
    if not runs:
        return None
    rows = [
        TableRow((run.method, setting_words(run.variant), run.iterations), (run.link,))
        for run in runs
    ]
    table = ResultTable(
        "too_short",
        f"Runs of fewer than {LEAST_ITERATIONS} iterations",
        ("method", "setting", "iterations"),
        tuple(rows),
        words=(0, 1),
    )
    return Section("short", "Not printed as results", "Too short to judge.", (table,))


NAME, TITLE = "counts", "Cells per image (section 4.4)"
HEADS_REPORT_CELLS_PER_IMAGE = (
    "method",
    "setting",
    "image",
    "protocol",
    "mIoU",
    "more than on its own images",
    "pixel accuracy",
    "more than on its own images",
)


def cells_per_image(runs: Iterable[PublishedRun], figures: Measurements) -> Section:
    """Return one network's tests on mosaics of several kinds (section 4.4)."""
    networks: dict[tuple, list[Result]] = defaultdict(list)
    for run in runs:
        split = str(run.run.get("split"))
        honest = split not in LEAKING and not run.on_development
        if run.tiles > 1 and honest and not run.reading:
            networks[run.network, split].append(Result((run,), split))
    rows = []
    for key in sorted(networks, key=str):
        tests = sorted(networks[key], key=_by_images)
        if len({_images(result) for result in tests}) > 1:
            rows += _rows(tests, figures)
    if not rows:
        lead = "No network is published that was tested on several kinds of mosaics."
        return Section(NAME, TITLE, lead)
    lead = (
        "The same network and the same cells, which keep their size in pixels while "
        "the image grows, unless the protocol names an image of another size. The "
        "paper keeps its images at 512 px, so that its cells shrink as their number "
        "grows. Differences are paired, and to the kind of image that it was trained "
        "on. Images of one class hold as many cells as there are, and grey tiles."
    )
    table = ResultTable(
        "cells_per_image",
        "The same network, tested on several kinds of mosaics",
        HEADS_REPORT_CELLS_PER_IMAGE,
        tuple(rows),
        words=(0, 1, 2, 3),
    )
    return Section(NAME, TITLE, lead, (table,))


def _rows(tests: Sequence[Result], figures: Measurements) -> list[TableRow]:
    own = min(tests, key=lambda r: (r.first.is_test, _by_images(r)))
    others = [result for result in tests if result is not own]
    compared, _ = differences_to(own, others, COMPARED)
    more = {id(one.first): one.differences for one in compared}
    rows = []
    for result in tests:
        cells = [
            result.method,
            setting_of(result),
            f"{result.first.tiles**2} cells, "
            f"{'of one class' if result.first.alike else 'mixed'}",
            protocol_words(result),
        ]
        for name in COMPARED:
            there = more.get(id(result))
            cells.append(figures.of(result, [name])[name])
            cells.append(measured(there[name]) if there else None)
        rows.append(TableRow(tuple(cells), result.links))
    return rows


def _images(result: Result) -> tuple[int, bool]:
    return result.first.tiles, result.first.alike


def _by_images(result: Result) -> tuple:
    return (*_images(result), str(result.variant))


TRIED = (*COMPARED, "right_class")
TRIED_HEADS = ("mIoU", "pixel accuracy", "cells of the right class")


def chosen_settings(
    results: Iterable[Result], runs: Iterable[PublishedRun]
) -> list[Result]:
    """Return results on all folds of what was tried on the development fold first.

    Of all classes: leukocyte against background is another question.
    The best on the development fold comes first: what they reach on the folds chooses
    nothing.
    """
    reached = {_recipe(run): run.mean_iou for run in _tried(runs)}
    found = [
        result
        for result in results
        if result.scope == FIVE_FOLDS
        and result.confusion.shape[-1] == CLASS_COUNT
        and _recipe(result.first) in reached
    ]
    return sorted(found, key=lambda result: -reached[_recipe(result.first)])


def developed(runs: Iterable[PublishedRun]) -> set[str]:
    """Return the datasets on whose development fold settings were tried."""
    return {run.results["data"]["dataset"] for run in _tried(runs)}


def development(
    results: Sequence[Result], runs: Sequence[PublishedRun], figures: Measurements
) -> Section:
    """Return what was tried on the development fold, and the choice on all folds."""
    tried = [Result((run,), DEVELOPMENT) for run in _tried(runs)]
    tried.sort(key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    tables = [
        _tried_table(folder, [r for r in tried if r.first.folder == folder], figures)
        for folder in sorted({r.first.folder for r in tried})
    ]
    lead = (
        "Trained on folds 1 to 3, tested on fold 4; fold 5 is in neither part. "
        "Settings were chosen here, by the higher figure of one training each, and "
        "the figures stand for nothing else."
        if tables
        else "No run on the development fold is published."
    )
    chosen = chosen_settings(results, runs)
    reference = paper_method([r for r in results if r.scope == FIVE_FOLDS])
    if chosen and reference is not None and chosen[0] is not reference:
        tables = [*_chosen_tables(reference, chosen, results, figures), *tables]
    return Section("development", "Tried on the development fold", lead, tuple(tables))


def _tried(runs: Iterable[PublishedRun]) -> list[PublishedRun]:
    return [run for run in runs if run.run.get("split") == DEVELOPMENT]


def _recipe(run: PublishedRun) -> tuple:
    return (*run.likeness, run.method, run.variant, run.run.get("seed"))


def _chosen_tables(
    reference: Result,
    chosen: Sequence[Result],
    results: Sequence[Result],
    figures: Measurements,
) -> list[ResultTable]:
    """Return the choice on all folds, and what else is there on the same cells."""
    others = [result for result in chosen if result is not reference]
    rows = [_figures_row(result, figures) for result in (*others, reference)]
    absolute = ResultTable(
        "chosen",
        f"What was chosen, on {reference.scope} ({len(reference.stems)} cells)",
        ("method", "setting", "iterations", *TRIED_HEADS),
        tuple(rows),
        note=f"The choice knew the cells of {DEVELOPMENT_FOLD}, which are among these; "
        "the table of all results has the figures without them.",
        words=(0, 1),
    )
    first = chosen[0]
    differences = difference_table(
        "chosen_differences",
        f"All others on the same cells, against {first.name}: {setting_of(first)}, "
        f"{first.first.iterations} iterations",
        first,
        [result for result in results if _comparable(result, first)],
        third=("iterations", lambda result: result.first.iterations),
        note="Each row minus the choice. Setting, length and post-processing differ at "
        "once: this says what choosing gained, not which of them did. Where nothing "
        "was chosen for a method, it does not say which method is better.",
    )
    return [absolute, differences]


def _comparable(one: Result, other: Result) -> bool:
    """Tell whether both are of all folds of one dataset, in the same classes."""
    sides = [
        (r.scope, r.first.results["data"]["dataset"], r.confusion.shape[-1])
        for r in (one, other)
    ]
    return sides[0] == sides[1]


def _figures_row(result: Result, figures: Measurements) -> TableRow:
    cells = result.method, setting_of(result), result.first.iterations
    return TableRow((*cells, *figures.of(result, TRIED).values()), result.links)


def _tried_table(
    folder: str, tried: Sequence[Result], figures: Measurements
) -> ResultTable:
    return ResultTable(
        f"tried_{folder.replace('-', '_')}",
        f"Tried under {folder}",
        ("method", "setting", "iterations", *TRIED_HEADS),
        tuple(_figures_row(result, figures) for result in tried),
        words=(0, 1),
    )
