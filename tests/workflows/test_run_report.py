"""The page about a finished run, gathered from what the run left."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.evaluation.confusion import confusion_matrix
from leuko_mm.evaluation.leukocyte_metric import Cells, load_cells
from leuko_mm.report.run_report import LossHistory
from leuko_mm.workflows import predictions, run_report
from leuko_mm.workflows.train import TrainRequest, train

METRICS = dict.fromkeys(
    (
        "mIoU",
        "mIoU_fg",
        "mF1",
        "mPrecision",
        "mRecall",
        "pixel_accuracy",
        "ovr_accuracy",
    ),
    50.0,
)


class Finished:
    """A run with its folder, its page's data, and the images that were segmented."""

    def __init__(self):
        self.pages, self.segmented = [], []


@pytest.fixture(scope="module")
def finished(tiny_home, tmp_path_factory):
    """Train two iterations on enhanced cells, and keep what the page is made of."""
    place, run = tmp_path_factory.mktemp("runs"), Finished()
    config = write_config(place, enhance="dict(type='leuko_mm.AHERetinex')")
    render, predict = run_report.render_run_report, predictions._predict
    threads = torch.get_num_threads()

    def rendered(data):
        run.pages.append(data)
        return render(data)

    def predicted(runner, dataset, plain, index):
        run.segmented.append(index)
        return predict(runner, dataset, plain, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        patch.setattr(run_report, "render_run_report", rendered)
        patch.setattr(predictions, "_predict", predicted)
        torch.set_num_threads(1)
        run.folder = train(
            TrainRequest(
                config=str(config),
                split="fold2",
                work_dir=str(place / "run"),
                command=["leuko train", "tiny"],
            )
        )
        torch.set_num_threads(threads)
    (run.page,) = run.pages
    return run


def test_the_page_stands_in_the_folder(finished):
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    for link in finished.page.files:
        assert (finished.folder / link.path).is_file()
        assert link.words in page
    assert [link.path for link in finished.page.files[:2]] == [
        "results.json",
        "table.md",
    ]
    assert "run.pth" in [link.path for link in finished.page.files]


def test_figures_are_those_of_the_results(finished):
    results = json.loads((finished.folder / "results.json").read_text())
    page = finished.page
    assert page.headlines[0].value == results["metrics"]["mIoU"]
    assert [list(row) for row in page.confusion] == results["confusion"]
    assert {row.label.name: row.scores for row in page.rows} == results["per_class"]
    assert page.means[1].scores == {"iou": results["metrics"]["mIoU_fg"]}
    assert page.cell_count == 5 == sum(row.cells or 0 for row in page.rows)


def test_every_cell_shows_its_own_pixels(finished):
    cells = load_cells(finished.folder / "cells.npz")
    assert len(finished.page.cells) == len(cells.stem) == 5
    for card in finished.page.cells:
        (row,) = np.flatnonzero(cells.stem == card.stem)
        counts = confusion_matrix(card.true_labels, card.predicted_labels, 6)
        np.testing.assert_array_equal(counts, cells.confusion[row])
        assert card.group == cells.group[row]
        assert card.image.shape == card.enhanced.shape == (32, 32, 3)
        assert (card.image != card.enhanced).any()


def test_the_model_sees_no_image_twice(finished):
    assert finished.segmented == [0, 1]
    assert sorted(path.name for path in (finished.folder / "overlays").iterdir()) == [
        "01.png",
        "02.png",
    ]


def test_it_says_what_was_trained_on_what(finished):
    page = finished.page
    assert page.summary.startswith(
        "tiny, trained under the protocol smoke on synthetic, split fold2, seed 0: "
        "2 iterations in "
    )
    facts = {name: value for group in page.facts for name, value, _ in group.facts}
    assert facts["command"] == "leuko train tiny"
    assert facts["enhancement"] == "leuko_mm.AHERetinex"
    assert facts["test groups"] == "slide_2"
    assert facts["training groups"] == "4"
    resolved = Config.fromfile(finished.folder / "tiny.py")
    assert "tiny.py" in [file.path for file in page.files]
    assert resolved.test_dataloader.dataset.dataset.split == "fold2"


def labels(count=6):
    names = ["background", "basophil", "eosinophil", "x-cell", "y", "z"][:count]
    palette = [[n, n, n] for n in range(count)]
    return run_report.class_labels(dict(classes=names, palette=palette))


def cells_of(*pairs, count=6):
    """Return cells of 10 pixels each, by true and majority class."""
    confusion = np.zeros((len(pairs), count, count), int)
    for row, (truth, majority) in enumerate(pairs):
        confusion[row, 0, 0], confusion[row, truth, majority] = 90, 10
    names = np.array([f"c{row}" for row in range(len(pairs))])
    return Cells(stem=names, group=names, confusion=confusion)


def test_short_names_for_known_and_unknown_classes():
    assert [label.short for label in labels(4)] == ["bg", "bas", "eos", "x-ce"]


def test_cells_are_counted_whole():
    cells = cells_of((1, 1), (1, 2), (1, 0), (2, 2), (0, 0))
    per_class = {label.name: {} for label in labels()}
    rows = run_report.class_rows(per_class, cells, labels())
    assert [(row.cells, row.right) for row in rows[:4]] == [
        (None, None),
        (3, 1),
        (1, 1),
        (0, 0),
    ]
    results = dict(metrics=METRICS, confusion=cells.confusion.sum(axis=0).tolist())
    *_, found, right = run_report.headlines(results, cells)
    assert right.value == 50
    assert right.note == "2 of 4 by most of their pixels; 1 without any leukocyte pixel"
    # 40 true pixels, 10 of them lost and none invented.
    assert found.value == 75


def test_two_classes_need_no_second_figure_for_being_found():
    cells = cells_of((1, 1), count=2)
    results = dict(metrics=METRICS, confusion=cells.confusion[0].tolist())
    names = [headline.label for headline in run_report.headlines(results, cells)]
    assert names == ["mean IoU", "mean IoU of cells", "mean F1", "pixel accuracy"]


def test_no_cell_at_all_has_no_share():
    cells = cells_of((0, 0))
    results = dict(metrics=METRICS, confusion=cells.confusion[0].tolist())
    assert run_report.headlines(results, cells)[-1].value is None


def test_losses_become_a_history(tmp_path):
    class Runner:
        hooks = ()

    assert run_report._loss(Runner, tmp_path) is None
    folder = tmp_path / "1" / "vis_data"
    folder.mkdir(parents=True)
    (folder / "scalars.json").write_text('{"step": 10, "loss": 0.5}\n')
    assert run_report._loss(Runner, tmp_path) == LossHistory((10,), (0.5,), {})
