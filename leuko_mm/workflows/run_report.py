"""Gather a finished run's page and write it, with the run's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from leuko_mm.classes import BACKGROUND, CLASSES
from leuko_mm.evaluation.cell_scores import majority_classes
from leuko_mm.evaluation.confusion import merge_leukocytes, scores
from leuko_mm.evaluation.leukocyte_metric import CELLS_FILE, Cells, load_cells
from leuko_mm.files import write_text
from leuko_mm.report.run_report import (
    CellCard,
    ClassLabel,
    ClassRow,
    Headline,
    LossHistory,
    MeanRow,
    RunReport,
    render_run_report,
)
from leuko_mm.workflows.pictures import (
    draw_pictures,
    read_losses,
    shown_indices,
    thaw_marks,
)
from leuko_mm.workflows.predictions import locate_cells, predict_images
from leuko_mm.workflows.report_facts import (
    closing_of,
    fact_groups,
    files_beside,
    summary_of,
)
from leuko_mm.workflows.shown_cells import cell_cards, choose_cells

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
