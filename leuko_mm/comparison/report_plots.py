"""Plots of the report: intervals, cost against accuracy, learning curves, losses."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from leuko_mm.comparison.measurements import PAPER_METHOD, TARGETS, Metrics
from leuko_mm.comparison.results import (
    DEVELOPMENT,
    FIVE_FOLDS,
    PublishedRun,
    Result,
    losses_beside,
    named_links,
    shown_families,
)
from leuko_mm.report.comparison_page import ResultFigure, Section
from leuko_mm.report.plots import IntervalPlot, IntervalRow, Plot, PlotPoint, PlotSeries
from leuko_mm.report.run_page import FileLink
from leuko_mm.training.config import SAME_AS, SETTINGS

# Milliseconds of one image by method, where somebody has measured them.
TIMING_FILE = "timing.json"
# A picture of fewer methods would say no more than its table.
LEAST_METHODS = 3
TITLES = {"mIoU": "Mean IoU", "pixel_accuracy": "Pixel accuracy"}
METRIC_LABELS = {"mIoU": "mean IoU, %", "pixel_accuracy": "pixel accuracy, %"}
# Rows of the ablation that are the CBAM U-Net under a setting.
CBAM_ROWS = {row: name[1] for name, row in SAME_AS.items() if name[0] == "cbam_unet"}


def at_a_glance(results: Sequence[Result], metrics: Metrics) -> Section:
    """Return results over all folds, and the methods that share a test, as pictures."""
    groups: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        if result.scope == FIVE_FOLDS:
            groups[result.first.images].append(result)
    pictures = [groups[images] for images in sorted(groups, key=str)]
    for members in shown_families(results):
        plain = [
            result
            for result in members
            if result.scope != FIVE_FOLDS
            and result.variant in SETTINGS
            and not result.first.reading
            and not result.first.options
        ]
        if len({result.method for result in plain}) >= LEAST_METHODS:
            pictures.append(plain)
    shown = tuple(
        _glance_figure(number, members, metrics)
        for number, members in enumerate(pictures, 1)
    )
    lead = (
        "The best mean IoU comes first. Bars are 95 % intervals over slides; rows "
        "whose bars overlap may still differ on the same cells, which is tested below."
        if shown
        else "Nothing is published on all five folds, and no "
        f"{LEAST_METHODS} methods on the same cells after equally long trainings."
    )
    return Section("glance", "At a glance", lead, figures=shown)


def _glance_figure(
    number: int, members: Sequence[Result], metrics: Metrics
) -> ResultFigure:
    ranked = metrics.best_first(members)
    first = ranked[0]
    lengths = {result.first.iterations for result in ranked}
    rows = []
    for result in ranked:
        words = result.setting
        if len(lengths) > 1:
            words += f", {result.first.iterations} iterations"
        name = f"{result.method} ({result.encoder_words})"
        shown = tuple(metrics.of(result, METRIC_LABELS).values())
        rows.append(IntervalRow(name, words, shown))
    lead, levels = f"{first.conditions(*ranked)}.", ()
    if first.all_classes:
        levels = tuple(TARGETS[name] for name in METRIC_LABELS)
        lead += (
            f" Dashed: {TARGETS['mIoU']:.2f} % mean IoU, which the paper prints, and "
            f"{TARGETS['pixel_accuracy']:.2f} % pixel accuracy, our targets."
        )
    what = "All five folds" if first.scope == FIVE_FOLDS else "Methods"
    return ResultFigure(
        f"glance_{number}",
        f"{what}: {first.first.folder}, {first.scope}",
        IntervalPlot(tuple(rows), tuple(METRIC_LABELS.values()), levels),
        lead,
        named_links(ranked),
    )


def costs(results: Sequence[Result], metrics: Metrics, folder: Path) -> Section:
    """Return accuracy against multiply-adds and against milliseconds."""
    timing = read_timing(folder / TIMING_FILE)
    per_image = dict(timing.get("methods", {}))
    # Name, words, label and cost of each axis.
    axes: list[tuple[str, str, str, Callable[[Result], float | None]]] = [
        (
            "macs",
            "multiply-adds",
            "multiply-adds an image, billions",
            lambda result: result.first.results["model"].get("gmacs"),
        )
    ]
    if per_image:
        where = f"{timing.get('size')} px, {timing.get('machine')}"
        label = f"processor milliseconds an image ({where})"
        axes.append(("ms", "milliseconds", label, lambda r: per_image.get(r.method)))
    shown = []
    families = [members for members in shown_families(results) if len(members) > 1]
    for number, members in enumerate(families, 1):
        lead = (
            f"{members[0].conditions()}. Bars are 95 % intervals. Settings of a "
            "method cost the same and are drawn side by side for that; what enhances "
            "the image is not counted."
        )
        for name, words, label, cost in axes:
            # Ablations have the cost of their method and would hide it.
            known = [m for m in members if m.variant in (None, *SETTINGS)]
            known = [m for m in known if cost(m) is not None]
            if len(known) < 2:
                continue
            links = named_links(known)
            links += (FileLink(TIMING_FILE, TIMING_FILE),) * (name == "ms")
            for metric in METRIC_LABELS:
                plot = _cost_plot(known, metrics, cost, label, metric)
                title = f"{TITLES[metric]} against {words}"
                key = f"{metric}_{name}_{number}"
                shown.append(ResultFigure(key, title, plot, lead, links))
    lacks = []
    if not shown:
        lacks.append("No two methods are published on the same cells yet.")
    if not per_image:
        lacks.append(
            f"Milliseconds are not drawn: there is no sound {TIMING_FILE} "
            "(tools/paper/timings.py methods measures it)."
        )
    return Section("cost", "Accuracy and cost", " ".join(lacks), figures=tuple(shown))


def read_timing(path: Path) -> dict:
    """Return the measured times, {} where there are none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _cost_plot(
    members: Sequence[Result],
    metrics: Metrics,
    cost: Callable[[Result], float | None],
    label: str,
    metric: str,
) -> Plot:
    series, named = defaultdict(list), set()
    for member in members:
        # Once a method: its points of all settings stand side by side.
        name = "" if member.method in named else member.method
        named.add(member.method)
        point = _point(cost(member), metrics, member, metric, name)
        series[member.variant or "as its file has it"].append(point)
    drawn = tuple(PlotSeries(name, tuple(points)) for name, points in series.items())
    return Plot(drawn, label, METRIC_LABELS[metric])


def _point(
    x: float, metrics: Metrics, result: Result, metric: str, name: str = ""
) -> PlotPoint:
    shown = metrics.one(result, metric)
    return PlotPoint(x, shown.value, name, shown.low, shown.high)


def learning(runs: Sequence[PublishedRun], metrics: Metrics) -> Section:
    """Return how the CBAM U-Net's metrics grow with iterations and training slides."""
    own = [run for run in runs if _row_of(run) in PAPER_METHOD and not run.reading]
    labels = {"iterations": "iterations", "slides": "slides to learn from"}
    shown = []
    for axis, label in labels.items():
        lines: dict[tuple, dict[float, Result]] = defaultdict(dict)
        for run in own:
            at = dict(
                iterations=run.iterations,
                slides=len(run.data.get("train_groups") or []),
            )
            x = at.pop(axis)
            # The cells, not the split's name: others learn from fewer slides.
            tested = tuple(sorted(run.cells.stem.tolist()))
            key = (run.images, _row_of(run), tested, run.seed, *at.values())
            lines[key].setdefault(x, Result((run,), run.split))
        kept = [points for points in lines.values() if len(points) > 1]
        if kept:
            shown.append(_learning_figure(axis, label, kept, metrics))
    lead = (
        "The same network after more iterations, or from more slides; tested on the "
        f"same cells. Runs on the {DEVELOPMENT} fold count here too."
        if shown
        else "No two runs of the CBAM U-Net differ in nothing but their length or the "
        "slides that they learn from."
    )
    return Section("learning", "Learning curves", lead, figures=tuple(shown))


def _row_of(run: PublishedRun) -> tuple[str, str | None]:
    """Return method and setting; of an ablation's row those of the CBAM U-Net."""
    if run.method == "unet_vgg16" and run.variant in CBAM_ROWS:
        return "cbam_unet", CBAM_ROWS[run.variant]
    return run.method, run.variant


def _learning_figure(
    axis: str, label: str, lines: Sequence[Mapping[float, Result]], metrics: Metrics
) -> ResultFigure:
    series, links = [], []
    for line in lines:
        first = next(iter(line.values()))
        points = sorted(line.items())
        links += named_links(result for _, result in points)
        words = f"{first.name}, {first.first.folder}, {first.scope.split('_')[0]}"
        drawn = tuple(_point(x, metrics, result, "mIoU") for x, result in points)
        series.append(PlotSeries(words, drawn))
    return ResultFigure(
        f"learning_{axis}",
        f"Mean IoU over {label}",
        Plot(tuple(series), label, METRIC_LABELS["mIoU"], kind="joined"),
        "Bars are 95 % intervals.",
        tuple(links),
    )


def losses(runs: Sequence[PublishedRun]) -> Section:
    """Return the training losses of the runs that have published them.

    Of every folder one split is drawn, the one with the most trainings. Settings and
    lengths have plots of their own, since their losses cannot be read together.
    """
    folders: dict[str, list[PublishedRun]] = defaultdict(list)
    for run in runs:
        if run.losses:
            folders[run.folder].append(run)
    shown = []
    for name, members in folders.items():
        groups: dict[tuple, list[PublishedRun]] = defaultdict(list)
        splits = Counter(run.split for run in members)
        split = max(sorted(splits), key=splits.get)
        for run in members:
            if run.split == split:
                own = run.variant not in SETTINGS
                words = "other settings" if own else f"setting {run.variant}"
                groups[-run.iterations, own, words].append(run)
        for number, key in enumerate(sorted(groups), 1):
            words = f"{split}, {key[-1]}, {-key[0]} iterations"
            shown.append(
                ResultFigure(
                    f"losses_{name.replace('-', '_')}_{number}",
                    f"Training loss under {name}: {words}",
                    *_loss_plot(groups[key]),
                )
            )
    lead = (
        "Thin: the logged values; thick: their running mean. Losses of two settings "
        "are not of one scale. One split is drawn; those of the others are beside the "
        "results files (`.losses.csv`)."
        if shown
        else "No run has published its losses."
    )
    return Section("training", "Training curves", lead, figures=tuple(shown))


def _loss_plot(
    members: Sequence[PublishedRun],
) -> tuple[Plot, str, tuple[FileLink, ...]]:
    series, links = [], []
    for run in members:
        words = Result((run,), run.split).name
        series.append(PlotSeries(words, tuple(PlotPoint(x, y) for x, y in run.losses)))
        links.append(FileLink(losses_beside(Path(run.file)).as_posix(), words))
    plot = Plot(tuple(series), "iteration", "training loss", kind="lines")
    return plot, "", tuple(links)
