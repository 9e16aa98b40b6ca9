"""The report of a comparison, out of results files alone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from generated_results import change, write_many, write_run
from tiny_run import leuko

from leuko_mm.cli.main import main
from leuko_mm.comparison import measurements
from leuko_mm.comparison.measurements import first_trainings, repeated
from leuko_mm.comparison.report import gather_report, write_report
from leuko_mm.comparison.report_differences import other_seeds
from leuko_mm.comparison.results import FIVE_FOLDS, FOLDS, read_runs, results_of
from leuko_mm.evaluation.confusion import scores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a folder of results with something for every section."""
    results = tmp_path_factory.mktemp("many") / "results"
    write_many(results)
    return results


@pytest.fixture(scope="module")
def report(many):
    return report_of(many)


def report_of(folder):
    return gather_report(read_runs(folder), folder)


def section(report, name):
    return next(section for section in report.sections if section.name == name)


def pixels_of(results, pattern):
    """Return the confusion of all cells of some results files together."""
    files = results.glob(f"half/{pattern}.json")
    return sum(np.array(json.loads(path.read_text())["confusion"]) for path in files)


def metrics_of(results, pattern):
    return scores(pixels_of(results, pattern)).metrics


def written(folder):
    """Return the files of a folder with their bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_the_headline_is_the_papers_method_on_every_cell(report, many):
    first, second = report.headlines
    metrics = metrics_of(many, "cbam_unet-B-fold*-s0")
    assert first.value == pytest.approx(metrics["mIoU"])
    assert second.value == pytest.approx(metrics["pixel_accuracy"])
    assert "five folds (150 cells)" in first.note
    assert "the paper prints, 91.89" in first.note


def mean_iou(results, variant):
    return metrics_of(results, f"cbam_unet-{variant}-fold*")["mIoU"]


def _write_choice(results):
    """Write the paper's method and two settings of ours; the worse one does better."""
    for fold in range(1, 6):
        write_run(results, "cbam_unet", "B", split=f"fold{fold}", iterations=300)
        for name, quality in (("fast", 0.85), ("slow", 0.95)):
            write_run(results, "cbam_unet", name, split=f"fold{fold}", quality=quality)
    for name, quality in (("fast", 0.9), ("slow", 0.7), ("odd", 0.97)):
        write_run(results, "cbam_unet", name, split="development", quality=quality)


def test_the_choice_of_the_development_fold_stands_beside_the_papers_method(tmp_path):
    _write_choice(tmp_path)
    report = report_of(tmp_path)
    # What does best on the development fold is the choice, whatever the folds say.
    assert "cbam_unet B" in report.headlines[0].note
    assert "cbam_unet fast" in report.headlines[2].note
    assert report.headlines[2].value < mean_iou(tmp_path, "slow")
    absolute, paired, tried = section(report, "development").tables
    shown = [row.cells[1].split(":")[0] for row in absolute.rows]
    assert shown == ["fast", "slow", "B"]
    # All others minus the choice, whether they were chosen from or not.
    choice = mean_iou(tmp_path, "fast")
    assert {row.cells[1].split(":")[0] for row in paired.rows} == {"slow", "B"}
    for row in paired.rows:
        theirs = mean_iou(tmp_path, row.cells[1].split(":")[0])
        assert row.cells[3].value == pytest.approx(theirs - choice)
        assert row.cells[3].low <= row.cells[3].value <= row.cells[3].high
    assert [row.cells[1] for row in tried.rows] == ["odd", "fast", "slow"]
    assert len({table.name for table in report.tables}) == len(report.tables)


def test_rivals_on_one_fold_meet_that_fold_of_the_others(report):
    tables = section(report, "differences").tables
    compared = {
        (row.cells[0], row.cells[1].split(":")[0], table.title.split(",")[0]): table
        for table in tables
        for row in table.rows
    }
    assert "fold5" in compared["segnet", "A", "Setting A"].title
    whole = [t for t in tables if FIVE_FOLDS in t.title]
    assert {row.cells[0] for t in whole for row in t.rows} >= {"unet_vgg16"}
    for table in tables:
        for row in table.rows:
            raw, corrected = (float(row.cells[i]) for i in (4, 5))
            assert 0 < raw <= corrected <= 1
            assert row.cells[3].low <= row.cells[3].value <= row.cells[3].high


def test_methods_are_compared_under_one_setting_and_ablations_apart(tmp_path):
    for method in ("cbam_unet", "unet"):
        for variant in ("A", "B"):
            write_run(tmp_path, method, variant)
    write_run(tmp_path, "unet_vgg16", "retinex")
    seen = dict(mode="every", reading=dict(views=8))
    write_run(tmp_path, "cbam_unet", "B", tag="views8", **seen)
    shown = report_of(tmp_path)
    told = {
        table.title.split(":")[0]: [row.cells[:2] for row in table.rows]
        for table in section(shown, "differences").tables
    }
    own = {f"Setting {name}, against cbam_unet {name}" for name in "AB"}
    rest = "Ablations and other post-processing, against cbam_unet B"
    settings = "Settings of the CBAM U-Net, against cbam_unet A"
    assert told.keys() == {*own, settings, rest}
    assert [method for method, _ in told[settings]] == ["cbam_unet"]
    for name in own:
        assert [cells[0] for cells in told[name]] == ["unet"]
    assert sorted(told[rest]) == [
        # The ablation's row with CBAM alone.
        ("cbam_unet", "A: raw image, cross-entropy"),
        ("cbam_unet", "B: AHE-Retinex, focal + Dice loss; views8, eight views"),
        ("unet_vgg16", "ablation: AHE-Retinex"),
    ]


def test_other_lengths_are_shown_behind_those_of_the_protocol(tmp_path):
    for method in ("cbam_unet", "unet_vgg16", "unet"):
        write_run(tmp_path, method, "A-i300", iterations=300)
    shown = report_of(tmp_path)
    assert all(section.name != "other_lengths" for section in shown.sections)
    assert len(section(shown, "results").tables[0].rows) == 3
    write_run(tmp_path, "cbam_unet", "A")
    write_run(tmp_path, "unet_vgg16", "A")
    shown = report_of(tmp_path)
    (table,) = section(shown, "results").tables
    assert "650 iterations" in table.title
    assert len(table.rows) == 2
    assert not section(shown, "glance").figures
    results, *differences = section(shown, "other_lengths").tables
    assert "300 iterations" in results.title
    assert len(results.rows) == 3
    assert all("300 iterations" in table.title for table in differences)
    table = section(shown, "paper").tables[0]
    assert {link.path for row in table.rows for link in row.links} == {
        "half/cbam_unet-A-fold5-s0.json",
        "half/unet_vgg16-A-fold5-s0.json",
    }


def test_five_folds_tell_what_they_are_without_the_fold_of_the_choices(report, many):
    without = metrics_of(many, "cbam_unet-B-fold[1235]-s0")["mIoU"]
    (note,) = {t.note for t in section(report, "results").tables if t.note}
    assert "chosen on fold4" in note
    assert "over 120 cells" in note
    assert f"cbam_unet B {without:.2f} [" in note


def test_the_papers_rows_stand_beside_ours(report):
    one, two, three, four = section(report, "paper").tables
    mine = [
        row for row in one.rows if row.cells[0] == "lymphocyte, Method of this paper"
    ]
    assert mine[0].cells[1:] == (
        "as printed",
        92.71,
        80.26,
        88.94,
        86.04,
        pytest.approx(75.50, abs=0.005),
    )
    assert mine[1].cells[1].startswith("cbam_unet B (random weights): half, five folds")
    assert [link.words for link in mine[1].links] == [f"fold{k}" for k in range(1, 6)]
    there = [r for r in two.rows if r.kind == "result"]
    assert {"bcisc", "segmentation_wbc_1"} == {
        r.cells[0].split("(")[1].split(")")[0] for r in there
    }
    best = [r for r in three.rows if "Retinex + CBAM + Dice" in r.cells[0]]
    assert best[0].cells[2:4] == (91.89, pytest.approx(85.28, abs=0.01))
    assert any(r.cells[1] == "not in the paper" for r in three.rows)
    words = "; ".join(row.cells[1] for row in three.rows if row.kind == "result")
    # On all folds, and on the fold that all combinations share.
    assert "cbam_unet B (random weights): half, five folds" in words
    assert "cbam_unet B (random weights): half, fold5" in words
    assert "retinex (random weights): half, fold5" in words
    assert [r.cells[0] for r in four.rows if r.kind == "printed"] == [
        "VGG16",
        "ResNet50",
    ]


def test_of_two_classes_precision_and_recall_are_the_leukocytes(many, report):
    two = section(report, "paper").tables[1]
    for row in (row for row in two.rows if row.kind == "result"):
        told = json.loads((many / row.links[0].path).read_text())["confusion"]
        (_, false), (missed, right) = told
        printed = [cell.value for cell in row.cells[2:4]]
        wanted = [100 * right / (right + false), 100 * right / (right + missed)]
        assert printed == pytest.approx(wanted, abs=1e-9)


def test_what_a_random_split_adds_has_an_interval(report):
    (table,) = section(report, "leakage").tables
    first, *others = table.rows
    assert first.cells[2] == "five folds, 150 cells"
    assert [row.cells[2].split(",")[0] for row in others] == ["paper_mosaics", "paper"]
    for row in others:
        assert row.cells[4].low <= row.cells[4].value <= row.cells[4].high
        assert row.cells[4].value > 0


def test_outlines_and_classes_share_the_wrong_pixels(report, many):
    (shown,) = section(report, "confusions").confusions
    pixels = pixels_of(many, "cbam_unet-B-fold*-s0")
    outlines = pixels[0, 1:].sum() + pixels[1:, 0].sum()
    classes = pixels[1:, 1:].sum() - np.trace(pixels[1:, 1:])
    for count in (outlines, classes):
        assert f"{100 * count / pixels.sum():.2f} % " in shown.lead
    assert f"pixel accuracy {100 - 100 * outlines / pixels.sum():.2f} %" in shown.lead


def test_every_section_has_something_to_show(report):
    for one in report.sections:
        assert one.tables or one.figures or one.confusions, one.name
    assert [row.cells[0] for row in section(report, "short").tables[0].rows] == [
        "segnext_t"
    ]
    printed = " ".join(str(row.cells) for t in report.tables for row in t.rows)
    assert printed.count("segnext_t") == 1
    tried = section(report, "development").tables[0]
    assert [row.cells[1] for row in tried.rows] == ["stain", "raw"]
    counts = {
        row.cells[2].split()[0] for row in section(report, "counts").tables[0].rows
    }
    assert counts == {"4", "9", "16"}
    assert {f.name for f in section(report, "learning").figures} == {
        "learning_iterations"
    }


def test_tests_of_one_network_on_other_images_are_no_rows_of_the_comparison(tmp_path):
    how = dict(checkpoint="a" * 64, quality=0.8)
    write_run(tmp_path, "cbam_unet", "B", **how)
    write_run(tmp_path, "cbam_unet", "B", tag="alike", mode="every_alike", **how)
    write_run(tmp_path, "cbam_unet", "B", tag="3x3", n=3, mode="every", **how)
    seen = dict(mode="every", reading=dict(views=8))
    write_run(tmp_path, "cbam_unet", "B", tag="turned", **seen, **how)
    write_run(tmp_path, "unet", "A", checkpoint="b" * 64)
    shown = report_of(tmp_path)
    (table,) = section(shown, "counts").tables
    setting = "B: AHE-Retinex, focal + Dice loss"
    assert [row.cells[:3] for row in table.rows] == [
        ("cbam_unet", setting, "4 cells, mixed"),
        ("cbam_unet", f"{setting}; alike", "4 cells, of one class"),
        ("cbam_unet", f"{setting}; 3x3", "9 cells, mixed"),
    ]
    # The same images, read in another way, do stand beside the others.
    (table,) = section(shown, "results").tables
    assert {row.cells[1] for row in table.rows} == {
        setting,
        f"{setting}; turned, eight views",
        "A: raw image, cross-entropy",
    }


def test_a_learning_curve_is_over_slides_too_and_on_the_same_cells(tmp_path):
    for split, slides in (("_groups10", 10), ("_groups20", 20), ("", 30)):
        write_run(
            tmp_path,
            "cbam_unet",
            split=f"development{split}",
            train_groups=slides,
            quality=0.7 + slides / 200,
        )
    write_run(tmp_path, "cbam_unet", split="fold4", train_groups=40)
    shown = report_of(tmp_path)
    (figure,) = section(shown, "learning").figures
    (line,) = figure.plot.series
    assert line.name == "cbam_unet, half, development"
    # What is trained for fold4 learns from more slides and tests the same cells.
    assert [point.x for point in line.points] == [10, 20, 30, 40]
    assert len(figure.links) == 4
    # Nothing of the development fold is a result, and ideas are of the whole split.
    (table,) = section(shown, "results").tables
    assert len(table.rows) == 1
    (tried,) = section(shown, "development").tables
    assert len(tried.rows) == 1


def test_every_figure_and_result_leads_to_its_file(report, many):
    links = [link for figure in report.figures for link in figure.links]
    assert all(figure.links for figure in report.figures)
    for table in report.tables:
        for row in table.rows:
            assert bool(row.links) == (row.kind == "result"), row.cells
            links += row.links
    assert all((many / link.path).is_file() for link in links)


def test_the_same_results_give_the_same_bytes(many, tmp_path, monkeypatch):
    copies = []
    for name in ("one", "two"):
        copy = tmp_path / name / "results"
        shutil.copytree(many, copy)
        # Neither the time nor what stood there before leaves a trace.
        monkeypatch.setattr("time.time", lambda copy=copy: hash(copy) % 1e9)
        (copy / "report" / "tables").mkdir(parents=True, exist_ok=True)
        (copy / "report" / "tables" / f"old_{name}.csv").touch()
        write_report(copy)
        copies.append(written(copy))
    assert copies[0] == copies[1]
    assert sum(name.endswith(".svg") for name in copies[0]) >= 5
    assert not any(str(tmp_path).encode() in content for content in copies[0].values())


def test_the_command_says_what_it_wrote_and_what_is_broken(tmp_path, capsys):
    results = tmp_path / "results"
    write_run(results, "unet", "A")
    damaged = write_run(results, "segnet", "A")
    damaged.with_name("segnet-A-fold5-s0.cells.npz").unlink()
    assert main(["compare", "--report", "--out", str(results)]) == 1
    said = capsys.readouterr()
    assert f"written: {results / 'report.html'}" in said.out
    assert "segnet-A-fold5-s0.json" in said.err
    page = (results / "report.html").read_text()
    assert "No method is published on all five folds yet" in page
    table = results / "report" / "tables" / "results_1.csv"
    (row,) = csv.DictReader(table.open())
    assert row["files"] == "half/unet-A-fold5-s0.json"
    assert float(row["mIoU low"]) <= float(row["mIoU"]) <= float(row["mIoU high"])


def test_nothing_foreign_is_replaced_and_nothing_is_made_of_nothing(tmp_path, capsys):
    results = tmp_path / "results"
    results.mkdir()
    assert main(["compare", "--report", "--out", str(results)]) == 2
    assert "leuko compare --protocol half" in capsys.readouterr().err
    write_run(results, "unet", "A")
    (results / "report").mkdir()
    (results / "report" / "thesis.tex").write_text("mine")
    assert main(["compare", "--report", "--out", str(results)]) == 2
    assert (results / "report" / "thesis.tex").read_text() == "mine"
    assert main(["compare"]) == 2
    assert "--report needs none" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_committed_is_what_the_results_give(tmp_path):
    """``make results`` was run after the last results were committed."""
    copy = tmp_path / "results"
    shutil.copytree(ROOT / "results", copy)
    committed = written(copy / "report")
    done = leuko("compare", "--report", "--out", copy, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert written(copy / "report") == committed


def test_methods_from_random_weights_are_compared_apart(tmp_path):
    for method, start in (("cbam_unet", "vgg16"), ("segnet", "vgg16"), ("unet", None)):
        for number in range(1, 6):
            path = write_run(tmp_path, method, "A", split=f"fold{number}")
            change(path, model=dict(pretrained=start))
    shown = report_of(tmp_path)
    pooled = [t for t in section(shown, "differences").tables if "five" in t.title]
    alike, apart = pooled
    assert alike.title.startswith("Setting A, against cbam_unet A")
    assert apart.title.startswith("Setting A, from random weights, against")
    assert [row.cells[0] for row in alike.rows] == ["segnet"]
    assert [row.cells[0] for row in apart.rows] == ["unet"]
    # What each fold, which is a training of its own, says.
    place = alike.columns.index("mIoU, by fold")
    assert place in alike.words
    by_fold = list(map(float, alike.rows[0].cells[place].split("; ")))
    points = [
        metrics_of(tmp_path, f"segnet-A-fold{k}-s0")["mIoU"]
        - metrics_of(tmp_path, f"cbam_unet-A-fold{k}-s0")["mIoU"]
        for k in range(1, 6)
    ]
    assert by_fold == pytest.approx(points, abs=0.051)


# Trainings that differ in their seed: shown together, and nowhere else twice.


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Return a folder with two methods on all folds, seeds 0 and 1."""
    folder = tmp_path_factory.mktemp("twice")
    for method, quality in {"cbam_unet": 0.86, "unet_vgg16": 0.8}.items():
        for fold in FOLDS:
            for seed in (0, 1):
                how = dict(split=fold, seed=seed, quality=quality)
                write_run(folder, method, "B", **how)
    return folder


def seed_tables(folder):
    tables = other_seeds(read_runs(folder).runs).tables
    return {table.name.split("_")[1]: table for table in tables}


def miou(folder, split, seed):
    return metrics_of(folder, f"cbam_unet-B-{split}-s{seed}")["mIoU"]


def test_every_other_section_shows_the_lowest_seed_alone(twice):
    shown = report_of(twice)
    for part in (part for part in shown.sections if part.name != "seeds"):
        links = [link.path for figure in part.figures for link in figure.links]
        links += [k.path for t in part.tables for row in t.rows for k in row.links]
        assert not [path for path in links if path.endswith("-s1.json")], part.name
    # One test, so Holm's correction has nothing to correct.
    (row,) = section(shown, "differences").tables[0].rows
    assert row.cells[4] == row.cells[5]


def test_every_training_stands_beside_its_repetition(twice):
    rows = seed_tables(twice)["1"].rows
    assert len(rows) == 2 * (len(FOLDS) + 1)
    found = {(row.cells[0], row.cells[2]): row for row in rows}
    for scope, split, files in (("fold2", "fold2", 1), (FIVE_FOLDS, "fold*", 5)):
        row = found["cbam_unet", scope]
        values = [f"{miou(twice, split, seed):.2f}" for seed in (0, 1)]
        assert row.cells[3:5] == ("0; 1", "; ".join(values))
        assert len(row.links) == 2 * files


def test_the_deviation_is_over_folds_each_trained_twice(twice):
    rows = seed_tables(twice)["deviation"].rows
    (row,) = (row for row in rows if row.cells[0] == "cbam_unet")
    apart = [miou(twice, fold, 0) - miou(twice, fold, 1) for fold in FOLDS]
    wanted = np.sqrt(np.mean(np.square(apart)) / 2)
    assert wanted > 0
    assert row.cells[2] == 5
    assert row.cells[3] == pytest.approx(wanted)
    assert row.cells[-1] == pytest.approx(wanted / np.sqrt(5))
    # Ten pairs of trainings tell more than five.
    one, two, both = (row.cells[3] for row in rows)
    assert rows[-1].cells[:3] == ("all of these", "", 10)
    assert both == pytest.approx(np.sqrt((one**2 + two**2) / 2))


def test_a_second_seed_on_one_fold_is_shown_for_that_fold(tmp_path):
    for fold in FOLDS:
        write_run(tmp_path, "cbam_unet", "B", split=fold)
    write_run(tmp_path, "cbam_unet", "B", split="fold5", seed=3)
    runs = read_runs(tmp_path).runs
    assert [one.first.scope for one in repeated(results_of(runs))] == ["fold5"]
    assert seed_tables(tmp_path).keys() == {"1", "deviation"}
    assert {run.seed for run in first_trainings(runs)} == {0}


def test_what_learnt_from_other_slides_is_no_repetition(tmp_path):
    write_run(tmp_path, "cbam_unet", "B", train_groups=40)
    write_run(tmp_path, "cbam_unet", "B", train_groups=20, seed=1)
    assert len(first_trainings(read_runs(tmp_path).runs)) == 2
    assert not seed_tables(tmp_path)
