"""``leuko compare --protocol smoke``: every method, setting and ablation runs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch
from mmseg.models.backbones import ResNet
from tiny_run import make_data

from leuko_mm.cli.main import main
from leuko_mm.comparison import runner as compare
from leuko_mm.comparison.plan import method_names
from leuko_mm.models.encoders import VGG
from leuko_mm.training.config import config_names

# Seconds of one core, half of them imports: every run is a process of its own. On two
# cores with AVX512 it took 441; with three other busy processes on them 557, as the
# seconds of a shared core count for less.
AT_MOST_S, WITHOUT_AVX512_S = 720, 960


def write_random_weights(folder: Path) -> None:
    """Write files of the encoders' names and shapes: no test needs the network."""
    encoders = {
        "vgg16_imagenet_features_fp16.pth": VGG(depth=16),
        "resnet50_imagenet_caffe_rgb_fp16.pth": ResNet(depth=50, style="caffe"),
    }
    folder.mkdir(parents=True)
    for name, encoder in encoders.items():
        state = {key: value.half() for key, value in encoder.state_dict().items()}
        torch.save(state, folder / name)


def seconds_of_processes() -> float:
    times = os.times()
    return sum((times.user, times.system, times.children_user, times.children_system))


@pytest.mark.slow
def test_every_method_setting_and_ablation_runs(tmp_path, monkeypatch, capsys):
    home = tmp_path / "data"
    make_data(home)
    write_random_weights(home / "weights")
    monkeypatch.setenv("LEUKO_MM_DATA", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_in_process = compare.run_in_process

    def run_and_free(order, say):
        outcome = run_in_process(order, say)
        # Sixty checkpoints of a test would fill the disk of a small machine.
        for path in tmp_path.glob("work_dirs/*/*.pth"):
            path.unlink()
        return outcome

    monkeypatch.setattr(compare, "run_in_process", run_and_free)
    before = seconds_of_processes()
    code = main(["compare", "--protocol", "smoke", "--no-amp"])
    took = seconds_of_processes() - before
    said = capsys.readouterr().out
    assert code == 0, said
    ablations = [name for name in config_names() if name.startswith("ablation/")]
    files = sorted((tmp_path / "results" / "smoke").glob("*.json"))
    assert len(files) == 3 * len(method_names()) + len(ablations), said
    assert ablations
    for path in files:
        results = json.loads(path.read_text())
        assert results["run"]["iterations"] == 2, path.name
        assert math.isfinite(results["metrics"]["mIoU"]), path.name
        assert path.with_name(results["cells"]).is_file(), path.name
    capability = torch.backends.cpu.get_cpu_capability()
    bound = AT_MOST_S if capability == "AVX512" else WITHOUT_AVX512_S
    with capsys.disabled():
        print(f"{len(files)} runs in {took:.0f} s of one core ({capability}: {bound})")
    assert took < bound
