"""Trainings that differ in their seed: shown together, and nowhere else twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from generated_results import write_run

from leuko_mm.comparison import measurements
from leuko_mm.comparison.measurements import first_trainings, repeated
from leuko_mm.comparison.report import gather_report
from leuko_mm.comparison.report_differences import other_seeds
from leuko_mm.comparison.results import FIVE_FOLDS, FOLDS, read_runs, results_of
from leuko_mm.evaluation.confusion import scores

METHODS = {"cbam_unet": 0.86, "unet_vgg16": 0.8}


@pytest.fixture(scope="module", autouse=True)
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Return a folder with two methods on all folds, seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("twice")
    for method, quality in METHODS.items():
        for fold in FOLDS:
            for seed in (0, 1):
                how = dict(split=fold, seed=seed, quality=quality)
                write_run(folder, method, "B", **how)
    return folder


def pooled(folder, method, seeds, folds=FOLDS):
    files = (folder / f"half/{method}-B-{f}-s{s}.json" for f in folds for s in seeds)
    return scores(
        sum(np.array(json.loads(file.read_text())["confusion"]) for file in files)
    ).metrics


def by_name(section):
    return {table.name.split("_")[1]: table for table in section.tables}


def test_every_other_section_shows_the_lowest_seed_alone(twice):
    shown = gather_report(read_runs(twice), twice)
    for part in shown.sections:
        if part.name == "seeds":
            continue
        links = [link.path for figure in part.figures for link in figure.links]
        links += [k.path for t in part.tables for row in t.rows for k in row.links]
        assert not [path for path in links if path.endswith("-s1.json")], part.name
    (differences,) = (s for s in shown.sections if s.name == "differences")
    # One test, so Holm's correction has nothing to correct.
    (row,) = differences.tables[0].rows
    assert row.cells[4] == row.cells[5]


def test_every_training_stands_beside_its_repetition(twice):
    rows = by_name(other_seeds(read_runs(twice).runs))["1"].rows
    assert len(rows) == 2 * (len(FOLDS) + 1)
    told = {(row.cells[0], row.cells[2]): row for row in rows}
    row = told["cbam_unet", "fold2"]
    assert row.cells[3] == "0; 1"
    wanted = [pooled(twice, "cbam_unet", [seed], ["fold2"])["mIoU"] for seed in (0, 1)]
    assert row.cells[4] == "; ".join(f"{value:.2f}" for value in wanted)
    assert len(row.links) == 2
    whole = told["cbam_unet", FIVE_FOLDS]
    assert float(whole.cells[4].split("; ")[1]) == pytest.approx(
        pooled(twice, "cbam_unet", [1])["mIoU"], abs=0.005
    )
    assert len(whole.links) == 10


def test_the_deviation_is_over_folds_each_trained_twice(twice):
    rows = by_name(other_seeds(read_runs(twice).runs))["deviation"].rows
    (row,) = (row for row in rows if row.cells[0] == "cbam_unet")
    apart = [
        pooled(twice, "cbam_unet", [0], [f])["mIoU"]
        - pooled(twice, "cbam_unet", [1], [f])["mIoU"]
        for f in FOLDS
    ]
    wanted = np.sqrt(np.mean(np.square(apart)) / 2)
    assert wanted > 0
    assert row.cells[2] == 5
    assert row.cells[3] == pytest.approx(wanted)
    assert row.cells[-1] == pytest.approx(wanted / np.sqrt(5))


def test_a_second_seed_on_one_fold_is_shown_for_that_fold(tmp_path):
    for fold in FOLDS:
        write_run(tmp_path, "cbam_unet", "B", split=fold)
    write_run(tmp_path, "cbam_unet", "B", split="fold5", seed=3)
    runs = read_runs(tmp_path).runs
    assert [one.first.scope for one in repeated(results_of(runs))] == ["fold5"]
    section = other_seeds(runs)
    assert by_name(section).keys() == {"1", "deviation"}
    assert {run.seed for run in first_trainings(runs)} == {0}


def test_what_learnt_from_other_slides_is_no_repetition(tmp_path):
    write_run(tmp_path, "cbam_unet", "B", train_groups=40)
    write_run(tmp_path, "cbam_unet", "B", train_groups=20, seed=1)
    runs = read_runs(tmp_path).runs
    assert len(first_trainings(runs)) == 2
    section = other_seeds(runs)
    assert not section.tables
    assert "not known" in section.lead


def test_two_classes_have_no_right_one_among_them(tmp_path):
    for seed in (0, 1):
        how = dict(folder="robust", classes=2, n=1, seed=seed, iterations=300)
        write_run(tmp_path, "cbam_unet", "B", **how)
    tables = by_name(other_seeds(read_runs(tmp_path).runs))
    assert "cells of the right class" not in tables["1"].columns
    assert "300 iterations" in tables["1"].title
