"""The page about a finished run, gathered from what the run left."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.evaluation.confusion import METRIC_KEYS, confusion_matrix
from leuko_mm.evaluation.metric import Cells, load_cells
from leuko_mm.training import run_report
from leuko_mm.training import run_report as pictures
from leuko_mm.training.run import TrainRequest, train
from leuko_mm.training.run_report import (
    ChosenCell,
    cell_cards,
    choose_cells,
    class_labels,
    class_rows,
    fact_groups,
    headlines,
)

METRICS = dict.fromkeys(METRIC_KEYS, 50.0)


class Finished:
    """A run with its folder, its page's data, and the images that were segmented."""

    def __init__(self):
        self.pages, self.segmented = [], []


@pytest.fixture(scope="module")
def finished(one_thread, tiny_home, tmp_path_factory):
    """Train two iterations on enhanced cells, and keep what the page is made of."""
    place, run = tmp_path_factory.mktemp("runs"), Finished()
    config = write_config(place, enhance="dict(type='leuko_mm.AHERetinex')")
    render, predict = run_report.render_run_report, pictures._predict

    def rendered(data):
        run.pages.append(data)
        return render(data)

    def predicted(runner, plain, index):
        run.segmented.append(index)
        return predict(runner, plain, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        patch.setattr(run_report, "render_run_report", rendered)
        patch.setattr(pictures, "_predict", predicted)
        run.folder = train(
            TrainRequest(
                str(config),
                split="fold2",
                work_dir=str(place / "run"),
                command=["leuko train", "tiny"],
            )
        )
    (run.page,) = run.pages
    return run


@pytest.fixture
def results(finished):
    """Return the results of the finished run, as if it had been a longer one."""
    content = json.loads((finished.folder / "results.json").read_text())
    content["run"].update(iterations=450, wall_s=3725.0, git=None)
    content["run"].update(started="2026-01-02T03:04:05+00:00")
    content["data"].update(train_groups=[f"a_{n}" for n in range(9)], sha256="d" * 64)
    return content


def facts_of(results, *, tested=False):
    groups = fact_groups(results, tested=tested)
    return {
        name: (value, more) for group in groups for name, value, more in group.facts
    }


def test_long_lists_and_hashes_are_folded(results):
    results["data"]["enhance"]["reading"] = "hsv"
    facts = facts_of(results)
    assert facts["training groups"] == ("9", ", ".join(f"a_{n}" for n in range(9)))
    assert facts["test groups"] == ("slide_2", None)
    assert facts["dataset sha256"] == ("dddddddddddd...", "d" * 64)
    assert facts["its sha256"][1] == results["checkpoint"]["sha256"]
    assert facts["enhancement"][0] == "leuko_mm.AHERetinex (reading=hsv)"
    assert facts["command"][0] == "leuko train tiny"
    assert facts["wall time"][0] == "1 h 2 min"
    assert facts["started"][0] == "2026-01-02 03:04:05 UTC"


def test_the_page_is_in_the_folder_with_links_to_the_files(finished):
    page = (finished.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    links = [link.path for link in finished.page.files]
    assert links[:2] == ["results.json", "table.md"]
    assert {"run.pth", "tiny.py"} < set(links)
    resolved = Config.fromfile(finished.folder / "tiny.py")
    assert resolved.test_dataloader.dataset.dataset.split == "fold2"
    for link in finished.page.files:
        assert (finished.folder / link.path).is_file()
        assert link.words in page


def test_numbers_are_those_of_the_results(finished):
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
    overlays = sorted(path.name for path in (finished.folder / "overlays").iterdir())
    assert overlays == ["01.png", "02.png"]


def labels(count=6):
    names = ["background", "basophil", "eosinophil", "x-cell", "y", "z"][:count]
    return class_labels(dict(classes=names, palette=[[n, n, n] for n in range(count)]))


def cells_of(*pairs, count=6):
    """Return cells of 10 pixels each, by true and majority class."""
    confusion = np.zeros((len(pairs), count, count), int)
    for row, (truth, majority) in enumerate(pairs):
        confusion[row, 0, 0], confusion[row, truth, majority] = 90, 10
    names = np.array([f"c{row}" for row in range(len(pairs))])
    return Cells(stem=names, group=names, confusion=confusion)


def test_cells_are_counted_whole():
    cells = cells_of((1, 1), (1, 2), (1, 0), (2, 2), (0, 0))
    rows = class_rows({label.name: {} for label in labels()}, cells, labels())
    counts = [(row.cells, row.right) for row in rows[:4]]
    assert counts == [(None, None), (3, 1), (1, 1), (0, 0)]
    results = dict(metrics=METRICS, confusion=cells.confusion.sum(axis=0).tolist())
    *_, found, right = headlines(results, cells)
    assert right.value == 50
    assert right.note == "2 of 4 by most of their pixels; 1 without any leukocyte pixel"
    # 40 true pixels, 10 of them lost and none invented.
    assert found.value == 75


def test_class_0_of_a_network_that_names_cells_is_other():
    # Every pixel of a picture is of its class, and gets one.
    confusion = np.zeros((5, 6, 6), int)
    for row, pair in enumerate([(0, 0), (0, 2), (2, 0), (2, 2), (3, 3)]):
        confusion[row][pair] = 100
    names = np.array(list("abcde"))
    cells = Cells(stem=names, group=names, confusion=confusion)
    named = {label.name: {} for label in labels()}
    rows = class_rows(named, cells, labels(), whole=True)
    assert [(row.cells, row.right) for row in rows[:4]] == [
        *((2, 1), (0, 0), (2, 1), (1, 1))
    ]
    chosen = [ChosenCell(row, 1, "worst") for row in range(5)]
    cards = cell_cards(cells, chosen, {}, labels(), whole=True)
    assert [(card.truth, card.majority) for card in cards] == [
        *((0, 0), (0, 2), (2, 0), (2, 2), (3, 3))
    ]
    results = dict(metrics=METRICS, confusion=confusion.sum(axis=0).tolist())
    first, *_ = headlines(results, cells, whole=True)
    # Wilson's interval of 3 of 5.
    expected = "3 of 5 pictures get their class (95 % interval 23.1 to 88.2 %)"
    assert first.note == expected


def cell(right, wrong=0):
    """Return a cell of class 1 with so many right pixels and so many of class 2."""
    return [[90, 0, 0], [0, right, wrong], [0, 0, 0]]


def chosen(cells, **counts):
    found = choose_cells(np.array(cells), **counts)
    return [(one.row, one.rank, one.chosen_as) for one in found]


def test_the_worst_and_the_best_are_chosen_in_order():
    cells = [cell(n, 10 - n) for n in (5, 9, 1, 7, 3)]
    worst = [(2, 1, "worst"), (4, 2, "worst")]
    assert chosen(cells, worst=2, best=1) == [*worst, (1, 5, "best")]


def test_no_cell_is_shown_twice():
    cells = [cell(n, 10 - n) for n in (5, 9, 1)]
    assert [row for row, _, _ in chosen(cells, worst=2, best=2)] == [2, 0, 1]
    assert len(chosen(cells)) == 3
    assert chosen(cells, worst=0, best=0) == []


def test_equals_keep_their_order_and_empty_tiles_are_left_out():
    cells = [cell(0), cell(5), cell(5), cell(0)]
    assert [row for row, _, _ in chosen(cells)] == [1, 2]
