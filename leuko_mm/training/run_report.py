"""Gather a finished run's page and write it, with the run's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from leuko_mm.classes import BACKGROUND, CLASSES
from leuko_mm.evaluation.cell_scores import cell_dice, majority_classes
from leuko_mm.evaluation.confusion import merge_leukocytes, scores
from leuko_mm.evaluation.metric import CELLS_FILE, Cells, load_cells
from leuko_mm.files import write_text
from leuko_mm.report.run_page import (
    CellCard,
    ClassLabel,
    ClassRow,
    FactGroup,
    FileLink,
    Headline,
    LossHistory,
    MeanRow,
    PixelRow,
    RunReport,
    render_run_report,
)
from leuko_mm.training.pictures import (
    PredictedImage,
    draw_pictures,
    locate_cells,
    predict_images,
    read_losses,
    shown_indices,
    thaw_marks,
)

# Files that a run leaves, in the order of their use, and what they hold.
FILES = (
    ("results.json", "every figure of this page, for programs"),
    ("table.md", "the table of scores as text"),
    ("cells.npz", "confusion matrix of every test cell"),
    ("calibration.json", "how far the confidence of its answers can be believed"),
    ("metrics.json", "what the evaluator wrote"),
    ("loss.png", "the loss curve"),
)


def summary_of(results: Mapping, *, tested: bool) -> str:
    """Say in one or two sentences what was trained on what.

    Args:
        results: content of a results file.
        tested: whether the run only tests a checkpoint.
    """
    run, data = results["run"], results["data"]
    split = f"split {run['split']}" if run["split"] else "every cell"
    where = f"{data['dataset']}, {split}"
    under = f" under the protocol {run['protocol']}" if run["protocol"] else ""
    if tested:
        return f"{method_of(run)}, from a checkpoint, tested{under} on {where}."
    return (
        f"{method_of(run)}, trained{under} on {where}, seed {run['seed']}: "
        f"{run['iterations']} iterations in {duration(run['wall_s'])} on "
        f"{run['device']}."
    )


def closing_of(results: Mapping, *, tested: bool) -> str:
    """Say what the figures of a run stand for, and for what they do not."""
    last = results["run"].get("selected_on") == "last" and not tested
    scored = (
        "The last state of the training is what is scored: no checkpoint is picked on "
        "test cells. "
    )
    return f"{scored if last else ''}For research, not for diagnosis."


def method_of(run: Mapping) -> str:
    """Return a run's method with its variant."""
    return " ".join(str(run[key]) for key in ("method", "variant") if run[key])


def duration(seconds: float) -> str:
    """Say a duration in the two units that matter.

    Example:
        >>> duration(8.26), duration(754), duration(7500)
        ('8.3 s', '12 min 34 s', '2 h 5 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def fact_groups(results: Mapping, *, tested: bool) -> tuple[FactGroup, ...]:
    """Return the facts of a run under their headings."""
    return (
        FactGroup("Testing" if tested else "Training", _training(results, tested)),
        FactGroup("Data", _data(results["data"], results["run"], tested)),
        FactGroup("Machine and libraries", _machine(results["run"], results["env"])),
        FactGroup("Provenance", _provenance(results)),
    )


def _training(results: Mapping, tested: bool) -> tuple:
    run, model = results["run"], results["model"]
    size = f"{model['params_m']:.2f} million parameters"
    if model.get("gmacs") is not None:
        size += f", {model['gmacs']:.2f} billion multiply-adds an image"
    facts = [
        ("method", method_of(run), None),
        ("protocol", _text(run["protocol"]), None),
        ("model", size, None),
        ("pretrained", _text(model.get("pretrained")) or "no", None),
        ("iterations", _text(run["iterations"]), None),
        ("seed", _text(run["seed"]), None),
    ]
    if not tested:
        facts += [
            ("wall time", duration(run["wall_s"]), None),
            ("bfloat16", "on" if run.get("amp") else "off", None),
        ]
    return tuple(facts)


def _data(data: Mapping, run: Mapping, tested: bool) -> tuple:
    mosaic, size = data["mosaic"], data["size"]
    image = (
        f"{mosaic['n']} x {mosaic['n']} cells, {mosaic['mode']}"
        if mosaic
        else "none: images of one cell"
    )
    train = [] if tested else [("training groups", *_groups(data["train_groups"]))]
    return (
        ("dataset", data["dataset"], None),
        ("split", run["split"] or "none: every cell is tested", None),
        *train,
        ("test groups", *_groups(data["test_groups"])),
        ("mosaics", image, None),
        ("image size", f"{size} x {size} px" if size else None, None),
        ("enhancement", _recipe(data["enhance"]), None),
    )


def _groups(groups: list[str]) -> tuple[str, str | None]:
    if len(groups) <= 3:
        return ", ".join(groups) or "none", None
    return str(len(groups)), ", ".join(groups)


def _recipe(config: Mapping | None) -> str:
    """Say a transform's config in one line."""
    if not config:
        return "none"
    given = ", ".join(f"{k}={v}" for k, v in config.items() if k != "type")
    return f"{config['type']} ({given})" if given else str(config["type"])


def _machine(run: Mapping, env: Mapping) -> tuple:
    shown = ("leuko_mm", "python", "torch", "mmseg", "mmengine", "mmcv", "opencv")
    versions = ", ".join(f"{name} {env[name]}" for name in shown if env.get(name))
    return (
        ("device", _text(run["device"]), None),
        ("processor", _text(env.get("cpu")), None),
        ("threads", _text(run.get("threads")), None),
        ("GPU", _text(env.get("gpu")) or "none", None),
        ("versions", versions, None),
    )


def _provenance(results: Mapping) -> tuple:
    run, checkpoint = results["run"], results.get("checkpoint") or {}
    return (
        ("command", _text(run["command"]), None),
        ("started", run["started"].replace("T", " ").replace("+00:00", " UTC"), None),
        ("code", _text(run["git"]) or "installed package", None),
        ("checkpoint", _text(checkpoint.get("file")), None),
        ("its sha256", *_digest(checkpoint.get("sha256"))),
        ("dataset sha256", *_digest(results["data"]["sha256"])),
        ("config sha256", *_digest(run["config_sha256"])),
    )


def _digest(value: str | None) -> tuple[str | None, str | None]:
    return (f"{value[:12]}...", value) if value else (None, None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def files_beside(work_dir: Path) -> tuple[FileLink, ...]:
    """List what stands beside a run's page; results.json is written right after."""
    links = [
        FileLink(name, words)
        for name, words in FILES
        if name == "results.json" or (work_dir / name).is_file()
    ]
    name = work_dir.name
    more = (
        (f"{name}.pth", "the trained weights"),
        (f"{name}.json", "what the weights need to be used"),
    )
    links += [FileLink(n, words) for n, words in more if (work_dir / n).is_file()]
    links += [
        FileLink(path.name, "the complete config, with every choice of the command")
        for path in sorted(work_dir.glob("*.py"))
    ]
    links += [
        FileLink(f"overlays/{path.name}", "test image beside its truth")
        for path in sorted((work_dir / "overlays").glob("*.png"))
    ]
    return tuple(links)


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


REPORT_FILE = "report.html"


def show_run(runner: Runner, config: Config, results: Mapping, *, tested: bool) -> Path:
    """Draw a run's pictures and write its page; the model sees each image once.

    Args:
        runner: after testing.
        config: the run's resolved config.
        results: content of the run's results file.
        tested: whether the run only tests a checkpoint.

    Returns:
        The page's path.
    """
    work_dir = Path(config.work_dir)
    dataset = runner.test_dataloader.dataset
    cells = load_cells(work_dir / CELLS_FILE)
    labels = class_labels(dataset.metainfo)
    chosen = choose_cells(cells.confusion)
    found = locate_cells(dataset, cells.stem.tolist())
    places = {cell.row: found[cell.row] for cell in chosen if found[cell.row]}
    drawn = {index for index, _ in places.values()}
    images = predict_images(runner, {*shown_indices(runner), *drawn})
    draw_pictures(runner, work_dir, images)
    pictures = {row: images[i].cell(number) for row, (i, number) in places.items()}
    page = gather_report(
        results,
        cells=cells,
        labels=labels,
        cards=cell_cards(cells, chosen, pictures, labels),
        loss=_loss(runner, work_dir),
        config=config,
        tested=tested,
    )
    out = work_dir / REPORT_FILE
    write_text(out, render_run_report(page))
    return out


def gather_report(
    results: Mapping,
    *,
    cells: Cells,
    labels: Sequence[ClassLabel],
    cards: tuple[CellCard, ...],
    loss: LossHistory | None,
    config: Config,
    tested: bool,
) -> RunReport:
    """Return a run's page as plain data."""
    confusion = np.array(results["confusion"])
    return RunReport(
        name=results["run"]["name"],
        summary=summary_of(results, tested=tested),
        headlines=headlines(results, cells),
        classes=tuple(labels),
        rows=class_rows(results["per_class"], cells, labels),
        means=mean_rows(results["metrics"]),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confusion_percent=row_percent(confusion),
        loss=loss,
        cells=cards,
        cell_count=len(cells.stem),
        facts=fact_groups(results, tested=tested),
        files=files_beside(Path(config.work_dir)),
        closing=closing_of(results, tested=tested),
    )


def class_labels(metainfo: Mapping) -> tuple[ClassLabel, ...]:
    """Return name, short name and colour of a dataset's classes.

    Example:
        >>> labels = class_labels(dict(classes=["neutrophil"], palette=[[128, 0, 128]]))
        >>> labels[0].short, labels[0].colour
        ('neu', (128, 0, 128))
    """
    short = {c.name: c.aliases[0] for c in CLASSES}
    pairs = zip(metainfo["classes"], metainfo["palette"], strict=True)
    return tuple(
        ClassLabel(name, short.get(name, name[:4]), tuple(colour))
        for name, colour in pairs
    )


def headlines(results: Mapping, cells: Cells) -> tuple[Headline, ...]:
    """Return the first figures of the page."""
    metrics, confusion = results["metrics"], np.array(results["confusion"])
    shown = [
        Headline("mean IoU", metrics["mIoU"], "all classes, with the background"),
        Headline("mean IoU of cells", metrics["mIoU_fg"], "the cell classes only"),
        Headline("mean F1", metrics["mF1"], "all classes, with the background"),
        Headline("pixel accuracy", metrics["pixel_accuracy"], "of all pixels"),
    ]
    if len(confusion) == 2:
        return tuple(shown)
    any_cell = scores(merge_leukocytes(confusion)).per_class["leukocyte"]
    found = Headline("leukocyte IoU", any_cell["iou"], "found, whatever its class")
    return (*shown, found, _cells_right(cells))


def _cells_right(cells: Cells) -> Headline:
    truth, majority = majority_classes(cells.confusion)
    judged = truth != BACKGROUND
    total, right = int(judged.sum()), int((truth == majority)[judged].sum())
    missed = int((majority == BACKGROUND)[judged].sum())
    note = (
        f"{right} of {total} by most of their pixels; {missed} without any leukocyte "
        "pixel"
    )
    return Headline("cells right", 100 * right / total if total else None, note)


def class_rows(
    per_class: Mapping, cells: Cells, labels: Sequence[ClassLabel]
) -> tuple[ClassRow, ...]:
    """Return the table of scores, with the cells of each class counted whole."""
    truth, majority = majority_classes(cells.confusion)
    rows = []
    for number, label in enumerate(labels):
        own = truth == number
        counts = (None, None)
        if number != BACKGROUND:
            counts = int(own.sum()), int((own & (majority == number)).sum())
        rows.append(ClassRow(label, per_class[label.name], *counts))
    return tuple(rows)


def mean_rows(metrics: Mapping) -> tuple[MeanRow, ...]:
    """Return the means that stand under the table of scores."""
    everything = {
        "precision": metrics["mPrecision"],
        "recall": metrics["mRecall"],
        "f1": metrics["mF1"],
        "iou": metrics["mIoU"],
        "ovr_accuracy": metrics["ovr_accuracy"],
    }
    return (
        MeanRow("mean", everything),
        MeanRow("mean without background", {"iou": metrics["mIoU_fg"]}),
    )


def row_percent(confusion: np.ndarray) -> tuple[tuple[float | None, ...], ...]:
    """Return a confusion matrix in percent of each row's total; None without one.

    Example:
        >>> row_percent(np.array([[3, 1], [0, 0]]))
        ((75.0, 25.0), (None, None))
    """
    totals = confusion.sum(axis=1)
    return tuple(
        tuple(100.0 * int(value) / int(total) if total else None for value in row)
        for row, total in zip(confusion, totals, strict=True)
    )


def _loss(runner: Runner, work_dir: Path) -> LossHistory | None:
    history = read_losses(work_dir)
    if not history:
        return None
    return LossHistory(tuple(history), tuple(history.values()), thaw_marks(runner))
