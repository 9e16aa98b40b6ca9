"""What the report calls a result."""

from __future__ import annotations

import json

from generated_results import write_run

from leuko_mm.comparison.measurements import precision_note, setting_of
from leuko_mm.comparison.results import read_runs, results_of

TRAIN = "leuko train cbam_unet --protocol half --cfg-options"


def test_a_setting_of_our_own_says_what_it_is(tmp_path):
    path = write_run(tmp_path, "cbam_unet", "fast")
    content = json.loads(path.read_text())
    content["run"]["command"] = f"{TRAIN} variant=fast optim_wrapper.lr_mult=0.3"
    path.write_text(json.dumps(content))
    (result,) = results_of(read_runs(tmp_path).runs)
    assert setting_of(result) == "fast (lr_mult=0.3)"


def test_a_test_says_what_the_training_of_its_checkpoint_changed(tmp_path):
    trained = write_run(tmp_path, "cbam_unet", "fast")
    tested = write_run(tmp_path, "cbam_unet", "fast-cells")
    other = write_run(tmp_path, "cbam_unet", "plain-cells")
    for path, digest, command in (
        (trained, "a", f"{TRAIN} variant=fast optim_wrapper.lr_mult=0.3"),
        (tested, "a", "leuko test cbam_unet a.pth --cfg-options model.type=Cells"),
        (other, "b", "leuko test cbam_unet b.pth --cfg-options model.type=Cells"),
    ):
        content = json.loads(path.read_text())
        content["checkpoint"] = dict(sha256=digest)
        content["run"]["command"] = command
        path.write_text(json.dumps(content))
    said = {setting_of(result) for result in results_of(read_runs(tmp_path).runs)}
    assert said == {"fast (lr_mult=0.3)", "fast-cells (lr_mult=0.3)", "plain-cells"}


def test_float32_is_named_only_beside_bfloat16(tmp_path):
    write_run(tmp_path, "unet", "A", amp=True)
    write_run(tmp_path, "segnet", "A", amp=False)
    tested = write_run(tmp_path, "unet", "A-cells", amp=False)
    content = json.loads(tested.read_text())
    content["run"]["command"] = "leuko test unet a.pth --cfg-options model.type=Cells"
    tested.write_text(json.dumps(content))
    results = results_of(read_runs(tmp_path).runs)
    assert len(results) == 3
    assert precision_note(results) == (
        "Trained in float32, the others in bfloat16: segnet A."
    )
    assert precision_note([r for r in results if r.method == "unet"]) == ""
    assert precision_note([r for r in results if r.method == "segnet"]) == ""
