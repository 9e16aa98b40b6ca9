"""Plots of the report: which are drawn, and of what."""

from __future__ import annotations

import json

from generated_results import write_run

from leuko_mm.comparison.measurements import Metrics
from leuko_mm.comparison.report_plots import at_a_glance, costs, losses
from leuko_mm.comparison.results import FOLDS, losses_beside, read_runs, results_of


def glance(folder):
    return at_a_glance(results_of(read_runs(folder).runs), Metrics())


def shown(figure):
    return [(row.name, row.series.split(":")[0]) for row in figure.plot.rows]


def test_results_over_all_folds_share_a_picture_whatever_their_length(tmp_path):
    for fold in FOLDS:
        write_run(tmp_path, "cbam_unet", "B", split=fold, quality=0.7, iterations=300)
        write_run(tmp_path, "cbam_unet", "mine", split=fold, quality=0.9)
    (figure,) = glance(tmp_path).figures
    assert figure.title == "All five folds: half, five folds"
    assert [row.series for row in figure.plot.rows] == [
        "mine, 650 iterations",
        "B: AHE-Retinex, focal + Dice loss, 300 iterations",
    ]
    assert "300 or 650 iterations" in figure.lead
    assert "91.89 % mean IoU, which the paper prints" in figure.lead
    assert figure.plot.levels == (91.89, 99.0)
    assert len(figure.links) == 10


def test_methods_of_one_test_share_a_picture_without_ablations(tmp_path):
    for method, variant, quality in (
        ("unet", "A", 0.7),
        ("segnet", "A", 0.6),
        ("cbam_unet", "B", 0.9),
        ("cbam_unet", "A", 0.8),
        ("unet_vgg16", "retinex", 0.95),
    ):
        write_run(tmp_path, method, variant, quality=quality)
    write_run(
        tmp_path, "cbam_unet", "B-cells", reading=dict(least_area=9), mode="every"
    )
    (figure,) = glance(tmp_path).figures
    assert figure.title == "Methods: half, fold5"
    names = [name.split(" ")[0] for name, _ in shown(figure)]
    assert names == ["cbam_unet", "cbam_unet", "unet", "segnet"]
    assert {series for _, series in shown(figure)} == {"A", "B"}
    values = [row.metrics[0].value for row in figure.plot.rows]
    assert values == sorted(values, reverse=True)


def test_cost_is_drawn_of_methods_and_against_time_where_it_is_known(tmp_path):
    write_run(tmp_path, "unet", "A", gmacs=200.0)
    write_run(tmp_path, "cbam_unet", gmacs=130.0)
    # An ablation has the cost of its method and would hide it.
    write_run(tmp_path, "cbam_unet", "cbam_channel", gmacs=131.0)
    results = results_of(read_runs(tmp_path).runs)
    section = costs(results, Metrics(), tmp_path)
    assert [figure.name for figure in section.figures] == [
        "mIoU_macs_1",
        "pixel_accuracy_macs_1",
    ]
    points = [p.x for s in section.figures[0].plot.series for p in s.points]
    assert sorted(points) == [130.0, 200.0]
    assert "timing.json" in section.lead
    about = dict(methods=dict(unet=50.0, cbam_unet=70.0), size=256, machine="here")
    (tmp_path / "timing.json").write_text(json.dumps(about))
    timed = costs(results, Metrics(), tmp_path)
    assert len(timed.figures) == 4
    assert timed.lead == ""
    assert "timing.json" in {link.path for f in timed.figures for link in f.links}


def test_losses_that_can_be_read_together_share_a_plot(tmp_path):
    for method, variant, split, iterations in (
        ("unet", "A", "fold5", 650),
        ("unet", "A-i300", "fold5", 300),
        ("unet", "B", "fold5", 650),
        ("segnet", "B", "fold5", 650),
        ("unet_vgg16", "retinex", "fold5", 650),
        ("unet", "B", "fold1", 650),
        ("unet", "smear", "development", 650),
    ):
        how = dict(split=split, losses=True, iterations=iterations)
        write_run(tmp_path, method, variant, **how)
    section = losses(read_runs(tmp_path).runs)
    assert {
        figure.title.split(": ")[1]: [series.name for series in figure.plot.series]
        for figure in section.figures
    } == {
        "fold5, setting A, 650 iterations": ["unet A"],
        "fold5, setting A, 300 iterations": ["unet A"],
        "fold5, setting B, 650 iterations": ["segnet B", "unet B"],
        "fold5, other settings, 650 iterations": ["unet_vgg16 retinex"],
    }
    assert [figure.name for figure in section.figures] == [
        f"losses_half_{number}" for number in range(1, 5)
    ]


def test_damaged_losses_leave_their_run_out_and_are_named(tmp_path):
    whole = write_run(tmp_path, "unet", "A", losses=True)
    damaged = write_run(tmp_path, "segnet", "A", losses=True)
    file = losses_beside(damaged)
    file.write_text(file.read_text()[:-1] + "\n7")
    found = read_runs(tmp_path)
    assert [run.file for run in found.runs] == [whole.relative_to(tmp_path).as_posix()]
    (fault,) = found.faults
    assert f"{file.name} beside it is damaged" in fault
