"""Published runs: what they say of their training, and which folds are pooled."""

from __future__ import annotations

import json

import pytest
from generated_results import change, write_run

from leuko_mm.comparison.measurements import precision_note
from leuko_mm.comparison.results import (
    FIVE_FOLDS,
    FOLDS,
    read_runs,
    results_of,
    training_options,
)

TRAIN = "leuko train cbam_unet --protocol half --cfg-options"


def results_in(folder):
    return results_of(read_runs(folder).runs)


@pytest.mark.parametrize(
    ("command", "is_test"),
    [
        ("leuko train unet --protocol half", False),
        ("python tools/train.py unet", False),
        ("tools/train.py unet --split test", False),
        ("leuko test unet unet.pth", True),
        ("python tools/test.py unet unet.pth", True),
    ],
)
def test_the_command_tells_a_test_from_a_training(tmp_path, command, is_test):
    # Of single cells, whose images do not tell the one from the other.
    path = write_run(tmp_path, "unet", "A", n=1)
    content = change(path, run=dict(command=command))
    (run,) = read_runs(tmp_path).runs
    assert run.is_test == is_test
    assert run.mean_iou == pytest.approx(content["metrics"]["mIoU"])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("leuko train cbam_unet --protocol half", []),
        (f"{TRAIN} variant=fast", []),
        ("leuko train unet --cfg-options=a.b=1 --seed 1 --cfg c=2", ["b=1", "c=2"]),
        (
            f"{TRAIN} a.b.lr_mult=0.3 data.layout=smear --seed 1",
            ["lr_mult=0.3", "layout=smear"],
        ),
        (f"{TRAIN} 'a.widths=[1, 2]' fields=0", ["widths=[1, 2]", "fields=0"]),
        # A path has dots of its own.
        (f"{TRAIN} a.file=work_dirs/x.y/z.pth", ["file=work_dirs/x.y/z.pth"]),
        (
            "leuko test cbam_unet x.pth --cfg-options model.type=leuko_mm.Cells "
            "model.test_cfg.least_area=250 test_dataloader.dataset.n=3",
            [],
        ),
        (f"{TRAIN} a.name='unfinished", []),
    ],
)
def test_the_options_of_a_training_are_named_by_their_last_part(command, options):
    assert training_options(command) == options


def test_a_test_says_what_the_training_of_its_checkpoint_changed(tmp_path):
    for variant, digest, command in (
        ("fast", "a", f"{TRAIN} variant=fast optim_wrapper.lr_mult=0.3"),
        ("fast-cells", "a", "leuko test cbam_unet a.pth --cfg-options model.type=C"),
        ("plain-cells", "b", "leuko test cbam_unet b.pth --cfg-options model.type=C"),
    ):
        path = write_run(tmp_path, "cbam_unet", variant, checkpoint=digest)
        change(path, run=dict(command=command))
    assert {result.setting for result in results_in(tmp_path)} == {
        "fast (lr_mult=0.3)",
        "fast-cells (lr_mult=0.3)",
        "plain-cells",
    }


def test_float32_is_named_only_beside_bfloat16(tmp_path):
    write_run(tmp_path, "unet", "A", amp=True)
    write_run(tmp_path, "segnet", "A", amp=False)
    write_run(tmp_path, "unet", "A-cells", amp=False, mode="every")
    results = results_in(tmp_path)
    assert len(results) == 3
    assert precision_note(results) == (
        "Trained in float32, the others in bfloat16: segnet A."
    )
    for method in ("unet", "segnet"):
        assert precision_note([r for r in results if r.method == method]) == ""


def test_five_folds_are_one_result_over_every_cell(tmp_path):
    for fold in FOLDS:
        write_run(tmp_path, "cbam_unet", "B", split=fold)
        write_run(tmp_path, "cbam_unet", "B", split=fold, seed=1)
    write_run(tmp_path, "cbam_unet", "B", split="development")
    write_run(tmp_path, "segnet", "A")
    found = {(result.name, result.scope): result for result in results_in(tmp_path)}
    assert found.keys() == {
        ("cbam_unet B", FIVE_FOLDS),
        ("cbam_unet B seed 1", FIVE_FOLDS),
        ("segnet A", "fold5"),
    }
    stems = found["cbam_unet B", FIVE_FOLDS].cells.stem.tolist()
    assert len(stems) == len(set(stems)) == 5 * 10 * 3


def test_folds_that_were_trained_otherwise_are_not_pooled(tmp_path):
    for fold in FOLDS:
        path = write_run(tmp_path, "cbam_unet", "fast", split=fold)
        change(path, run=dict(command=f"{TRAIN} a.lr_mult=0.3"))
    assert [result.scope for result in results_in(tmp_path)] == [FIVE_FOLDS]
    change(path, run=dict(command=f"{TRAIN} a.lr_mult=1.0"))
    assert {result.scope for result in results_in(tmp_path)} == set(FOLDS)
    # Of another version of the data.
    change(path, run=dict(command=f"{TRAIN} a.lr_mult=0.3"), data=dict(sha256="2"))
    assert {result.scope for result in results_in(tmp_path)} == set(FOLDS)


def test_results_that_contradict_their_cells_are_left_out(tmp_path):
    path = write_run(tmp_path, "unet", "A")
    content = json.loads(path.read_text())
    content["confusion"][0][0] += 1
    path.write_text(json.dumps(content))
    found = read_runs(tmp_path)
    assert found.runs == ()
    assert "does not agree" in found.faults[0]


def test_the_committed_report_has_every_committed_run(project_root):
    found = read_runs(project_root / "results")
    assert not found.faults
    report = (project_root / "results/report/report.md").read_text(encoding="utf-8")
    lost = [run.file for run in found.runs if run.file not in report]
    assert not lost, "run make results"
