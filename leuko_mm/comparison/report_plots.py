"""Plots of the report: intervals, cost against accuracy, learning curves, losses."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from leuko_mm.classes import CLASSES
from leuko_mm.comparison.measurements import (
    PAPER_METHOD,
    TARGETS,
    Measurements,
    encoder_words,
    named_links,
    protocol_words,
    setting_of,
)
from leuko_mm.comparison.results import (
    DEVELOPMENT,
    FIVE_FOLDS,
    PublishedRun,
    Result,
    shown_families,
)
from leuko_mm.comparison.run_files import losses_beside
from leuko_mm.report.comparison import ResultFigure, Section
from leuko_mm.report.plots import IntervalPlot, IntervalRow, Plot, PlotPoint, PlotSeries
from leuko_mm.report.run_page import FileLink
from leuko_mm.training.config import SAME_AS, SETTINGS

# Milliseconds of one image by method, where somebody has measured them.
TIMING_FILE = "timing.json"
# Ablations have the cost of their method.
DRAWN = (None, *SETTINGS)
CBAM_ROWS = {row: name[1] for name, row in SAME_AS.items() if name[0] == "cbam_unet"}
TITLES = {"mIoU": "Mean IoU", "pixel_accuracy": "Pixel accuracy"}
METRIC_LABELS = {"mIoU": "mean IoU, %", "pixel_accuracy": "pixel accuracy, %"}


def costs(results: Sequence[Result], figures: Measurements, folder: Path) -> Section:
    """Return accuracy against multiply-adds and against milliseconds."""
    timing = read_timing(folder / TIMING_FILE)
    per_image = dict(timing.get("methods", {}))

    def macs(result: Result) -> float | None:
        return result.first.results["model"].get("gmacs")

    def milliseconds(result: Result) -> float | None:
        return per_image.get(result.method)

    axes = [("macs", "multiply-adds an image, billions", macs)]
    if per_image:
        where = f"{timing.get('size')} px, {timing.get('machine')}"
        axes.append(("ms", f"processor milliseconds an image ({where})", milliseconds))
    shown, found = [], shown_families(results)
    for number, members in enumerate((m for m in found if len(m) > 1), 1):
        for name, label, cost in axes:
            for metric in METRIC_LABELS:
                figure = _cost_figure(members, figures, cost, label, metric)
                if figure is None:
                    continue
                plot, links = figure
                if timing and name == "ms":
                    links = (*links, FileLink(TIMING_FILE, TIMING_FILE))
                what = "multiply-adds" if name == "macs" else "milliseconds"
                title = f"{TITLES[metric]} against {what}"
                lead = (
                    f"{protocol_words(members[0])}. Bars are 95 % intervals. Settings "
                    "of a method cost the same and are drawn side by side for that; "
                    "what enhances the image is not counted."
                )
                key = f"{metric}_{name}_{number}"
                shown.append(ResultFigure(key, title, plot, lead, links))
    lacks = []
    if not shown:
        lacks.append("No two methods are published on the same cells yet.")
    if not per_image:
        lacks.append(
            f"Milliseconds are not drawn: there is no {TIMING_FILE} "
            "(tools/paper/timings.py methods measures it)."
        )
    return Section("cost", "Accuracy and cost", " ".join(lacks), figures=tuple(shown))


def _cost_figure(
    members: Sequence[Result],
    figures: Measurements,
    cost: Callable[[Result], float | None],
    label: str,
    metric: str,
) -> tuple[Plot, tuple[FileLink, ...]] | None:
    known = [m for m in members if m.variant in DRAWN and cost(m) is not None]
    if len(known) < 2:
        return None
    series, named = defaultdict(list), set()
    for member in known:
        figure = figures.of(member, [metric])[metric]
        # Once a method: its points of all settings stand side by side.
        name = "" if member.method in named else member.method
        named.add(member.method)
        point = PlotPoint(cost(member), figure.value, name, figure.low, figure.high)
        series[member.variant or "as its file has it"].append(point)
    drawn = tuple(PlotSeries(name, tuple(points)) for name, points in series.items())
    links = tuple(link for member in known for link in named_links(member))
    return Plot(drawn, label, METRIC_LABELS[metric]), links


def learning(runs: Sequence[PublishedRun], figures: Measurements) -> Section:
    """Return how the CBAM U-Net's figures grow with iterations and training slides."""
    own = [run for run in runs if _named(run) in PAPER_METHOD and not run.reading]
    axes = (
        ("iterations", "iterations", lambda run: run.iterations),
        (
            "slides",
            "slides to learn from",
            lambda run: len(run.results["data"].get("train_groups") or []),
        ),
    )
    shown = []
    for name, label, place in axes:
        lines: dict[tuple, dict[float, Result]] = defaultdict(dict)
        for run in own:
            others = [other(run) for key, _, other in axes if key != name]
            data = run.results["data"]
            # The cells, not the split's name: others learn from fewer slides.
            tested = tuple(sorted(run.cells.stem.tolist()))
            images = data.get("size"), run.tiles, run.alike
            where = (run.folder, _named(run), tested, *images)
            result = Result((run,), str(run.run.get("split")))
            lines[(*where, result.seed, *others)].setdefault(place(run), result)
        kept = {key: points for key, points in lines.items() if len(points) > 1}
        if kept:
            shown.append(_learning_figure(name, label, kept, figures))
    lead = (
        "The same network after more iterations, or from more slides; tested on the "
        f"same cells. Runs on the {DEVELOPMENT} fold count here too."
        if shown
        else "No two runs of the CBAM U-Net differ in nothing but their length or the "
        "slides that they learnt from."
    )
    return Section("learning", "Learning curves", lead, figures=tuple(shown))


def _named(run: PublishedRun) -> tuple[str, str | None]:
    """Return method and setting, an ablation that is the CBAM U-Net by its name."""
    if run.method == "unet_vgg16" and run.variant in CBAM_ROWS:
        return "cbam_unet", CBAM_ROWS[run.variant]
    return run.method, run.variant


def _learning_figure(
    name: str, label: str, lines: Mapping, figures: Measurements
) -> ResultFigure:
    series, links = [], []
    for key, points in lines.items():
        first = next(iter(points.values()))
        drawn = []
        for x, result in sorted(points.items()):
            figure = figures.of(result, ["mIoU"])["mIoU"]
            drawn.append(PlotPoint(x, figure.value, "", figure.low, figure.high))
            links += named_links(result)
        words = f"{first.name}, {key[0]}, {first.scope.split('_')[0]}"
        series.append(PlotSeries(words, tuple(drawn)))
    plot = Plot(tuple(series), label, METRIC_LABELS["mIoU"], kind="joined")
    title = f"Mean IoU over {label}"
    return ResultFigure(
        f"learning_{name}", title, plot, "Bars are 95 % intervals.", tuple(links)
    )


def losses(runs: Sequence[PublishedRun], folder: Path) -> Section:
    """Return the training losses of the runs that have published them."""
    curves = [(run, _read_losses(losses_beside(folder / run.file))) for run in runs]
    curves = [(run, curve) for run, curve in curves if curve]
    shown = []
    for name in dict.fromkeys(run.folder for run, _ in curves):
        members = [(run, curve) for run, curve in curves if run.folder == name]
        groups = _by_kind(members)
        for kind, of_kind in groups.items():
            words = f"Training loss under {name}"
            title = f"{words}: {kind}" if len(groups) > 1 else words
            number = f"_{list(groups).index(kind) + 1}" if len(groups) > 1 else ""
            key = f"losses_{name.replace('-', '_')}{number}"
            shown.append(_loss_figure(key, title, of_kind))
    lead = (
        "Thin: the logged values; thick: their running mean. Losses of two settings "
        "are not of one scale."
        if shown
        else "No run has published its losses."
    )
    return Section("training", "Training curves", lead, figures=tuple(shown))


def _by_kind(members: Sequence[tuple[PublishedRun, list]]) -> dict[str, list]:
    """Divide curves into those that can be read together, by split and setting.

    Methods are compared on one split; what else was trained stands apart.
    """
    splits = Counter(str(run.run.get("split")) for run, _ in members)
    most = max(sorted(splits), key=splits.get)
    groups: dict[str, list] = defaultdict(list)
    for run, curve in members:
        if str(run.run.get("split")) != most:
            kind = "other splits"
        elif run.variant in SETTINGS:
            kind = f"{most}, setting {run.variant}"
        else:
            kind = f"{most}, other settings"
        groups[kind].append((run, curve))
    return {kind: groups[kind] for kind in sorted(groups, key=_others_last)}


def _others_last(kind: str) -> tuple[bool, bool, str]:
    return kind == "other splits", kind.endswith("other settings"), kind


def _loss_figure(key: str, title: str, members) -> ResultFigure:
    series, links = [], []
    for run, curve in members:
        words = f"{Result((run,), '').name}, {run.run.get('split')}"
        series.append(PlotSeries(words, tuple(PlotPoint(x, y) for x, y in curve)))
        links.append(FileLink(losses_beside(Path(run.file)).as_posix(), words))
    plot = Plot(tuple(series), "iteration", "training loss", kind="lines")
    return ResultFigure(key, title, plot, "", tuple(links))


def _read_losses(path: Path) -> list[tuple[int, float]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            (int(row["iteration"]), float(row["loss"])) for row in csv.DictReader(file)
        ]


def read_timing(path: Path) -> dict:
    """Return the measured times, {} where there are none."""
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


# A picture of fewer methods would say no more than its table.
LEAST_METHODS = 3


def at_a_glance(results: Sequence[Result], figures: Measurements) -> Section:
    """Return results over all folds, and the methods that share a test, as pictures.

    Args:
        results: what is published.
        figures: of the results.
    """
    groups = [*_five_folds(results), *_methods(results)]
    shown = tuple(
        _figure(number, members, figures) for number, members in enumerate(groups, 1)
    )
    lead = (
        "The best mean IoU stands first. Bars are 95 % intervals over slides; rows "
        "whose bars overlap may still differ on the same cells, which is tested below."
        if shown
        else "Nothing is published on all five folds, and no "
        f"{LEAST_METHODS} methods on the same cells after equally long trainings."
    )
    return Section("glance", "At a glance", lead, figures=shown)


def _five_folds(results: Sequence[Result]) -> list[list[Result]]:
    """Return results over all folds by the images they were tested on."""
    groups: dict[tuple, list[Result]] = defaultdict(list)
    for result in results:
        if result.scope == FIVE_FOLDS:
            groups[result.first.images].append(result)
    return [groups[images] for images in sorted(groups, key=str)]


def _methods(results: Sequence[Result]) -> list[list[Result]]:
    """Return methods of one test and length under the settings that all share."""
    found = []
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
            found.append(plain)
    return found


def _figure(
    number: int, members: Sequence[Result], figures: Measurements
) -> ResultFigure:
    ranked = sorted(members, key=lambda r: -figures.of(r, ["mIoU"])["mIoU"].value)
    lengths = {result.first.iterations for result in ranked}
    rows = []
    for result in ranked:
        words = setting_of(result)
        if len(lengths) > 1:
            words += f", {result.first.iterations} iterations"
        name = f"{result.method} ({encoder_words(result)})"
        measured = tuple(figures.of(result, list(METRIC_LABELS)).values())
        rows.append(IntervalRow(name, words, measured))
    aimed = ranked[0].confusion.shape[-1] == len(CLASSES)
    levels = tuple(TARGETS[name] for name in METRIC_LABELS) if aimed else ()
    lead = f"{protocol_words(*ranked)}."
    if aimed:
        lead += (
            f" Dashed: {TARGETS['mIoU']:.2f} % mean IoU, which the paper prints, and "
            f"{TARGETS['pixel_accuracy']:.2f} % pixel accuracy, our targets."
        )
    what = "All five folds" if ranked[0].scope == FIVE_FOLDS else "Methods"
    return ResultFigure(
        f"glance_{number}",
        f"{what}: {ranked[0].first.folder}, {ranked[0].scope}",
        IntervalPlot(tuple(rows), tuple(METRIC_LABELS.values()), levels),
        lead,
        tuple(link for result in ranked for link in named_links(result)),
    )
