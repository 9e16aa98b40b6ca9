"""The report's first pictures: which results stand in which."""

from __future__ import annotations

from generated_results import write_run

from leuko_mm.workflows.pooled_results import FOLDS, results_of
from leuko_mm.workflows.published_runs import read_runs
from leuko_mm.workflows.report_glance import at_a_glance
from leuko_mm.workflows.report_measurements import Measurements


def glance(folder):
    return at_a_glance(results_of(read_runs(folder).runs), Measurements())


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
    values = [row.figures[0].value for row in figure.plot.rows]
    assert values == sorted(values, reverse=True)


def test_two_classes_have_no_target_and_two_methods_no_picture(tmp_path):
    for method in ("unet", "segnet"):
        write_run(tmp_path, method, "A", folder="robust", classes=2, n=1)
    section = glance(tmp_path)
    assert not section.figures
    assert "no 3 methods on the same cells" in section.lead
    write_run(tmp_path, "cbam_unet", "B", folder="robust", classes=2, n=1)
    (figure,) = glance(tmp_path).figures
    assert figure.plot.levels == ()
    assert "Dashed" not in figure.lead
