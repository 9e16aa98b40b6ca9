"""Sections of the report on differences, seeds, splits, images and chosen settings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from leuko_mm.comparison.measurements import (
    COMPARED,
    HEADS,
    PAPER_METHOD,
    Compared,
    Metrics,
    Trainings,
    differences_to,
    independent,
    measured,
    paper_method,
    precision_note,
    repeated,
)
from leuko_mm.comparison.results import (
    DEVELOPMENT,
    DEVELOPMENT_FOLD,
    FIVE_FOLDS,
    FOLDS,
    LEAST_ITERATIONS,
    RANDOM,
    PublishedRun,
    Result,
    results_of,
    shown_families,
    single_folds,
)
from leuko_mm.evaluation.statistics import seed_deviation
from leuko_mm.report.comparison_page import Cell, ResultTable, Section, TableRow
from leuko_mm.training.config import SAME_AS, SETTINGS

# Splits that put cells of one slide on both sides.
LEAKING = ("paper_mosaics", "paper")
BY_FOLD = "mIoU, by fold"
# Of the metrics that settings were chosen by.
TRIED = (*COMPARED, "right_class")


def difference_tables(results: Sequence[Result], key: str) -> list[ResultTable]:
    """Return the paired differences to the CBAM U-Net under each setting.

    The names of the tables begin with ``key``.
    """
    tables = []
    for members in (m for m in shown_families(results) if len(m) > 1):
        for words, reference, kind in _kinds(members):
            if all(result is reference for result in kind):
                continue
            tables.append(
                _difference_table(
                    f"{key}_{len(tables) + 1}",
                    f"{words}, against {reference.name}: {reference.conditions()}",
                    reference,
                    kind,
                    third=("encoder", lambda result: result.encoder),
                    note=precision_note([reference, *kind]),
                )
            )
    return tables


def differences(results: Sequence[Result]) -> Section:
    """Return the section of ``difference_tables``."""
    tables = difference_tables(results, "differences")
    lead = (
        "Each row minus the CBAM U-Net on the same cells, in points of percent, with "
        "95 % intervals over slides, then cells. p is two-sided, of a permutation test "
        "that swaps whole slides: in all 1,024 ways where there are ten, so that no p "
        "is below 0.0020, else in 2,000 random ways, of which a p of 0.005 is known to "
        "within about 0.003. Beside it is p after Holm's correction over its column, "
        "of each table by itself. Interval and p are of these trained networks, not "
        "of their methods: all slides of a fold share one network, and of every recipe "
        "one training is shown. Over five folds the difference of each fold tells how "
        "much a result depends on one training. Methods are compared under one "
        "setting, and the CBAM U-Net's settings with one another. On single cells the "
        "paper's Table 2 compares whole recipes, its method with enhancement and loss "
        "(B), the others without (A). Methods that start from random weights have "
        "tables of their own, since the CBAM U-Net starts from ImageNet's; so have "
        "ablations and other post-processing. U-Net on VGG16 is a method and an "
        "ablation."
        if tables
        else "No two methods are published on the same cells and trained alike yet."
    )
    return Section("differences", "Differences on the same cells", lead, tuple(tables))


def _kinds(members: Sequence[Result]) -> list[tuple[str, Result, list[Result]]]:
    """Return (words, reference, results) of each setting of a family, and the rest."""
    found = []
    for name in SETTINGS:
        kind = [r for r in members if r.variant == name and not r.first.reading]
        reference = paper_method(kind) or paper_method(members)
        if reference is None:
            return []
        random = reference.encoder == RANDOM
        alike = [r for r in kind if (r.encoder == RANDOM) == random]
        apart = [r for r in kind if (r.encoder == RANDOM) != random]
        found.append((f"Setting {name}", reference, alike))
        start = "pretrained encoders" if random else "from random weights"
        found.append((f"Setting {name}, {start}", reference, apart))
    found += _settings_of_one(members)
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


def _settings_of_one(
    members: Sequence[Result],
) -> list[tuple[str, Result, list[Result]]]:
    """Return the CBAM U-Net's settings, the first of which is the reference."""
    plain = {
        result.variant: result
        for result in members
        if result.method == PAPER_METHOD[0][0] and not result.first.reading
    }
    settings = [plain[name] for name in SETTINGS if name in plain]
    if len(settings) < 2:
        return []
    return [("Settings of the CBAM U-Net", settings[0], settings)]


def _difference_table(
    name: str,
    title: str,
    reference: Result,
    members: Sequence[Result],
    *,
    third: tuple[str, Callable[[Result], Cell]],
    note: str = "",
) -> ResultTable:
    """Return the differences of results to one of them on the same cells.

    Over five folds the last column has the difference of each. ``third`` is head and
    content of the column behind method and setting.
    """
    others = [member for member in members if member is not reference]
    found, odd = differences_to(reference, others)
    head, content = third
    heads = [f"{HEADS[n]}{what}" for n in COMPARED for what in ("", ", p", ", Holm")]
    heads += [BY_FOLD] * (reference.scope == FIVE_FOLDS)
    columns = ("method", "setting", head, *heads)
    rows = []
    for one in sorted(found, key=lambda one: -one.differences["mIoU"].value):
        result = one.result
        rows.append(result.row(content(result), *_difference_cells(one)))
    words = ("method", "setting", "encoder", BY_FOLD)
    return ResultTable(
        name,
        title,
        columns,
        tuple(rows),
        note=" ".join(filter(None, (note, *odd))),
        words=tuple(i for i, column in enumerate(columns) if column in words),
    )


def _difference_cells(compared: Compared) -> list[Cell]:
    cells: list[Cell] = []
    for name in COMPARED:
        difference, holm = compared.differences[name], compared.corrected[name]
        cells += [measured(difference), f"{difference.p:.4f}", f"{holm:.4f}"]
    if compared.reference.scope == FIVE_FOLDS:
        both = zip(compared.result.runs, compared.reference.runs, strict=True)
        apart = (one.mean_iou - two.mean_iou for one, two in both)
        # Adding 0 takes the sign off what is rounded to -0.0.
        cells.append("; ".join(f"{round(points, 1) + 0:.1f}" for points in apart))
    return cells


def other_seeds(runs: Iterable[PublishedRun]) -> Section:
    """Return what was trained with several seeds, and how much that changed."""
    groups: dict[tuple, list[Trainings]] = defaultdict(list)
    for one in sorted(repeated(results_of(runs)), key=_seed_order):
        groups[one.first.first.likeness].append(one)
    tables = []
    for number, key in enumerate(sorted(groups, key=str), 1):
        tables += _seed_tables(groups[key], number)
    lead = (
        "The same recipe on the same cells with another seed: it draws the weights of "
        "the decoder, and the order of the images and how each is changed. All other "
        "sections show the lowest seed alone."
        if tables
        else "Nothing is published with two seeds, so how much one training differs "
        "from the next is not known."
    )
    return Section("seeds", "Other seeds", lead, tuple(tables))


def _seed_order(one: Trainings) -> tuple:
    first = one.first
    return first.method, first.setting, first.scope == FIVE_FOLDS, first.scope


def _seed_tables(members: Sequence[Trainings], number: int) -> Iterable[ResultTable]:
    first = members[0].first
    words = f"{first.first.folder}, {first.first.iterations} iterations"
    heads = {name: HEADS[name] for name in (TRIED if first.all_classes else COMPARED)}
    columns = ("method", "setting", "test", "seeds", *heads.values())
    yield ResultTable(
        f"seeds_{number}",
        f"Every training: {words}",
        columns,
        tuple(
            TableRow(
                (
                    *(one.first.method, one.first.setting, one.first.scope),
                    _listed(result.first.seed for result in one.results),
                    *(_listed(f"{v:.2f}" for v in one.values(name)) for name in heads),
                ),
                one.links,
            )
            for one in members
        ),
        lead="Percent, in the order of the seeds.",
        words=tuple(range(len(columns))),
    )
    yield _deviations_table(members, heads, f"seeds_deviation_{number}", words)


def _deviations_table(
    members: Sequence[Trainings], heads: Mapping[str, str], name: str, words: str
) -> ResultTable:
    recipes: dict[tuple, list[Trainings]] = defaultdict(list)
    for one in members:
        if one.first.scope != FIVE_FOLDS:
            recipes[one.first.first.recipe].append(one)
    shown = [(t[0].first.method, t[0].first.setting, t) for t in recipes.values()]
    if len(shown) > 1:
        every = [one for tests in recipes.values() for one in tests]
        shown.append(("all of these", "", every))
    rows = []
    for method, setting, tests in shown:
        found = [seed_deviation(one.values(name) for one in tests) for name in heads]
        points = (deviation.value for deviation in found)
        mean = found[0].value / math.sqrt(len(FOLDS))
        links = tuple(link for one in tests for link in one.links)
        cells = method, setting, found[0].freedom, *points, mean
        rows.append(TableRow(cells, links))
    return ResultTable(
        name,
        f"How much one training differs from the next: {words}",
        (
            *("method", "setting", "degrees of freedom", *heads.values()),
            "mIoU, mean of five trainings",
        ),
        tuple(rows),
        lead="Standard deviation in points of percent between trainings of one recipe "
        "that are tested on the same cells, pooled over the tests, and in the last of "
        "several rows over the recipes, too. With f degrees of freedom it is known to "
        "about one part in the square root of 2 f. The last column is the first "
        "divided by the square root of five: what five folds, each trained once, "
        "would differ by if all were trained again.",
        words=(0, 1),
    )


def _listed(values: Iterable) -> str:
    return "; ".join(map(str, values))


def leakage(results: Sequence[Result], metrics: Metrics) -> Section:
    """Return what a random split adds to the metrics of the same training."""
    folds = [r for r in results if r.scope == FIVE_FOLDS]
    folds += [r for r in results if r.scope.startswith("fold")]
    tables, done = [], set()
    for honest in [*folds, *single_folds(results)]:
        key = _split_training(honest)
        leaking = [
            result
            for split in LEAKING
            for result in results
            if result.scope == split and _split_training(result) == key
        ]
        if not leaking or key in done:
            continue
        done.add(key)
        rows = [_leakage_row(honest, None, metrics)]
        rows += [_leakage_row(result, honest, metrics) for result in leaking]
        heads = [h for n in COMPARED for h in (HEADS[n], "minus the folds by slide")]
        tables.append(
            ResultTable(
                f"leakage_{len(tables) + 1}",
                f"{honest.name}: {honest.conditions()}",
                ("method", "setting", "split", *heads),
                tuple(rows),
                words=(0, 1, 2),
            )
        )
    lead = (
        "The same method, trained again and equally long on images of the same size. "
        "The split paper divides cells at random, paper_mosaics mosaics of cells, as "
        "the paper did: both put a slide on both sides. A difference is not of the "
        "split alone: they test other cells than the folds, and learn from other "
        "numbers of them. It is not paired; its interval is over slides, then cells."
        if tables
        else "No training on the splits paper or paper_mosaics is published beside one "
        "of the same length on folds that divide no slide."
    )
    return Section("leakage", "What a random split adds", lead, tuple(tables))


def _split_training(result: Result) -> tuple:
    """What trainings share that differ in their split alone."""
    run = result.first
    # How mosaics are dealt is a matter of the split itself.
    where = run.folder, run.data["dataset"], run.data.get("size"), run.tiles
    return (*where, run.iterations, run.method, run.variant, run.seed)


def _leakage_row(result: Result, honest: Result | None, metrics: Metrics) -> TableRow:
    cells: list[Cell] = [f"{result.scope}, {len(result.cells.stem)} cells"]
    for name in COMPARED:
        added = independent(result, honest, name) if honest is not None else None
        cells += [metrics.one(result, name), added]
    return result.row(*cells)


def cells_per_image(runs: Iterable[PublishedRun], metrics: Metrics) -> Section:
    """Return one network's tests on mosaics of several kinds (section 4.4)."""
    networks: dict[tuple, list[Result]] = defaultdict(list)
    for run in runs:
        honest = run.split not in LEAKING and not run.on_development
        if run.tiles > 1 and honest and not run.reading:
            networks[run.network, run.split].append(Result((run,), run.split))
    rows = []
    for key in sorted(networks, key=str):
        tests = sorted(networks[key], key=_by_images)
        if len({_by_images(result)[:2] for result in tests}) > 1:
            rows += _image_rows(tests, metrics)
    if rows:
        lead = (
            "The same network and the same cells, which keep their size in pixels "
            "while the image grows, unless the protocol names an image of another "
            "size. The paper keeps its images at 512 px, so that its cells shrink as "
            "their number grows. Differences are paired, and to the kind of image that "
            "it was trained on. Images of one class hold as many cells as there are, "
            "and grey tiles."
        )
    else:
        lead = "No network is published that was tested on several kinds of mosaics."
    heads = [h for n in COMPARED for h in (HEADS[n], "more than on its own images")]
    table = ResultTable(
        "cells_per_image",
        "The same network, tested on several kinds of mosaics",
        ("method", "setting", "image", "protocol", *heads),
        tuple(rows),
        words=(0, 1, 2, 3),
    )
    title = "Cells per image (section 4.4)"
    return Section("counts", title, lead, (table,) if rows else ())


def _by_images(result: Result) -> tuple[int, bool, str]:
    return result.first.tiles, result.first.alike, str(result.variant)


def _image_rows(tests: Sequence[Result], metrics: Metrics) -> Iterable[TableRow]:
    own = min(tests, key=lambda result: (result.first.is_test, _by_images(result)))
    compared, _ = differences_to(own, [test for test in tests if test is not own])
    more = {id(one.result): one.differences for one in compared}
    for result in tests:
        image = "of one class" if result.first.alike else "mixed"
        image = f"{result.first.tiles**2} cells, {image}"
        cells: list[Cell] = [image, result.conditions()]
        for name in COMPARED:
            there = more.get(id(result))
            cells += [
                metrics.one(result, name),
                measured(there[name]) if there else None,
            ]
        yield result.row(*cells)


def tried_on(runs: Iterable[PublishedRun]) -> set[str]:
    """Return the datasets on whose development fold settings were tried."""
    return {run.data["dataset"] for run in runs if run.split == DEVELOPMENT}


def chosen_settings(
    results: Iterable[Result], runs: Iterable[PublishedRun]
) -> list[Result]:
    """Return results on all folds of what was tried on the development fold first.

    The best on the development fold comes first.
    """
    reached = {
        (run.likeness, run.method, run.variant, run.seed): run.mean_iou
        for run in runs
        if run.split == DEVELOPMENT
    }
    found = []
    for result in results:
        run = result.first
        key = run.likeness, run.method, run.variant, run.seed
        if result.scope == FIVE_FOLDS and result.all_classes and key in reached:
            found.append((reached[key], result))
    return [result for _, result in sorted(found, key=lambda pair: -pair[0])]


def development(
    results: Sequence[Result],
    runs: Iterable[PublishedRun],
    metrics: Metrics,
    chosen: Sequence[Result],
) -> Section:
    """Return what was tried on the development fold, and the choice on all folds."""
    tried: dict[str, list[Result]] = defaultdict(list)
    for run in runs:
        if run.split == DEVELOPMENT:
            tried[run.folder].append(Result((run,), DEVELOPMENT))
    tables = [
        _tried_table(
            f"tried_{folder.replace('-', '_')}",
            f"Tried under {folder}",
            metrics.best_first(tried[folder]),
            metrics,
        )
        for folder in sorted(tried)
    ]
    lead = (
        "Trained on folds 1 to 3, tested on fold 4; fold 5 is in neither part. "
        "Settings were chosen here, by the higher score of one training each, and "
        "the scores say nothing else."
        if tables
        else "No run on the development fold is published."
    )
    reference = paper_method([r for r in results if r.scope == FIVE_FOLDS])
    if chosen and reference is not None and chosen[0] is not reference:
        tables = [*_chosen_tables(reference, chosen, results, metrics), *tables]
    return Section("development", "Tried on the development fold", lead, tuple(tables))


def _tried_table(
    name: str, title: str, tried: Iterable[Result], metrics: Metrics, note: str = ""
) -> ResultTable:
    rows = [
        result.row(result.first.iterations, *metrics.of(result, TRIED).values())
        for result in tried
    ]
    heads = (HEADS[metric] for metric in TRIED)
    columns = ("method", "setting", "iterations", *heads)
    return ResultTable(name, title, columns, tuple(rows), note=note, words=(0, 1))


def _chosen_tables(
    reference: Result,
    chosen: Sequence[Result],
    results: Sequence[Result],
    metrics: Metrics,
) -> list[ResultTable]:
    """Return the choice on all folds, and what else is there on the same cells."""
    first = chosen[0]
    others = [result for result in chosen if result is not reference]
    absolute = _tried_table(
        "chosen",
        f"What was chosen, on {reference.scope} ({len(reference.cells.stem)} cells)",
        [*others, reference],
        metrics,
        f"The choice knew the cells of {DEVELOPMENT_FOLD}, which are among these; "
        "the table of all results has the scores without them.",
    )
    paired = _difference_table(
        "chosen_differences",
        f"All others on the same cells, against {first.name}: {first.setting}, "
        f"{first.first.iterations} iterations",
        first,
        [
            result
            for result in results
            if result.scope == first.scope
            and result.first.data["dataset"] == first.first.data["dataset"]
            and result.all_classes == first.all_classes
        ],
        third=("iterations", lambda result: result.first.iterations),
        note="Each row minus the choice. Setting, length and post-processing differ at "
        "once: this says what choosing gained, not which of them did. Where nothing "
        "was chosen for a method, it does not say which method is better.",
    )
    return [absolute, paired]


def too_short(runs: Sequence[PublishedRun]) -> Section | None:
    """Return the runs whose metrics are not printed, None if there are none."""
    if not runs:
        return None
    rows = [Result((run,), run.split).row(run.iterations) for run in runs]
    table = ResultTable(
        "too_short",
        f"Runs of fewer than {LEAST_ITERATIONS} iterations",
        ("method", "setting", "iterations"),
        tuple(rows),
        words=(0, 1),
    )
    return Section("short", "Not printed as results", "Too short to judge.", (table,))
