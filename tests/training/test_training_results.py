"""What a run writes: code, machine, model, calibration, and how to resume it."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

import leuko_mm
from leuko_mm.errors import UsageError
from leuko_mm.evaluation import LeukocyteMetric
from leuko_mm.registry import METRICS, MODELS
from leuko_mm.training import results
from leuko_mm.training.config import resolve_config
from leuko_mm.training.results import (
    CALIBRATION_FILE,
    CalibrationHook,
    as_typed,
    git_state,
    how_to_resume,
    model_facts,
    place_run,
)


@MODELS.register_module()
class OneConvolution(nn.Conv2d):
    """Has 12 weights, and what cannot be copied."""

    def __init__(self, backbone=None, broken=False):
        super().__init__(3, 4, 1, bias=False)
        self.log, self.broken = open(os.devnull), broken  # noqa: SIM115

    def forward(self, images):
        assert not self.broken
        return super().forward(images)


CONFIG = Config(
    dict(
        model=dict(
            type="leuko_mm.OneConvolution",
            backbone=dict(init_cfg=dict(type="X", checkpoint="vgg16")),
        ),
        test_dataloader=dict(dataset=dict(size=8)),
    )
)


@pytest.mark.parametrize("evaluator", [dict(type="IoUMetric"), [dict(type="x")]])
def test_results_need_our_evaluator(tiny_config, evaluator):
    config = resolve_config(str(tiny_config))
    config.test_evaluator = evaluator
    with pytest.raises(UsageError, match="test_evaluator must be"):
        place_run(config, "here")


def test_an_evaluator_of_the_users_is_a_subclass_of_ours(tiny_config, monkeypatch):
    class Mine(LeukocyteMetric):
        """Adds a score."""

    monkeypatch.setitem(METRICS.module_dict, "Mine", Mine)
    config = resolve_config(str(tiny_config))
    config.test_evaluator = dict(type="leuko_mm.Mine")
    place_run(config, "here")
    assert config.test_evaluator.out_dir == "here"


def test_a_model_is_counted_on_the_image_it_is_tested_on():
    model = OneConvolution()
    facts = model_facts(model, CONFIG)
    # 12 weights; 12 multiply-adds at each of 64 pixels.
    assert facts["params_m"] == round(12e-6, 3)
    assert facts["gmacs"] == round(12 * 64e-9, 3)
    assert facts["input_size"] == 8
    assert facts["pretrained"] == "vgg16"
    # Of a tested checkpoint, whatever the config says that it is tested with.
    assert model_facts(model, CONFIG, dict(backbone={}))["pretrained"] is None


def test_a_model_that_cannot_be_counted_costs_no_results():
    config = copy.deepcopy(CONFIG)
    config.model.broken = True
    assert model_facts(OneConvolution(), config)["gmacs"] is None


def test_post_processing_is_part_of_the_facts():
    model = nn.Conv2d(3, 4, 1)
    assert model_facts(model, CONFIG)["reading"] == {}
    model.least_area, model.views = None, 1
    assert model_facts(model, CONFIG)["reading"] == {}
    model.least_area, model.views = 250, 8
    assert model_facts(model, CONFIG)["reading"] == dict(least_area=250, views=8)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a repository with one commit, taken for the one of the package."""

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    package = tmp_path / "leuko_mm"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(results.leuko_mm, "__file__", str(package / "__init__.py"))
    git_state.cache_clear()
    yield tmp_path
    git_state.cache_clear()


def test_the_commit_is_the_one_that_the_process_started_with(repository):
    clean = git_state()
    assert len(clean) == 12
    (repository / "leuko_mm" / "__init__.py").write_text("x = 1\n")
    assert git_state() == clean
    git_state.cache_clear()
    assert git_state() == f"{clean}-dirty"


def test_a_command_line_can_be_typed_again():
    words = ["leuko train", "my unet.py", "--cfg-options", "a.b=[1, 2]", "c='x'"]
    assert shlex.split(as_typed(words)) == ["leuko", "train", *words[1:]]
    assert as_typed(["tools/train.py", "unet"]) == "python tools/train.py unet"
    assert as_typed([]) == ""


@pytest.mark.parametrize("entry", ["--force", "--resume", "--forc", "--res"])
def test_going_on_resumes_once_and_forces_nothing(entry):
    said = how_to_resume(["leuko train", "unet", entry, "--data", "my cells"])
    assert said == "go on with:\n    leuko train unet --data 'my cells' --resume"


def test_a_launcher_and_python_resume_in_their_own_way():
    command = ["leuko train", "unet", "--launcher", "slurm"]
    said = how_to_resume(command, launcher="slurm")
    assert "starting, as before," in said
    assert said.endswith("leuko train unet --launcher slurm --resume")
    assert how_to_resume([]) == "go on with resume=True"


def predicted(logits, truth, **meta):
    return SegDataSample(
        seg_logits=PixelData(data=logits),
        gt_sem_seg=PixelData(data=truth),
        metainfo=meta,
    )


def test_every_tile_is_a_cell_and_every_labelled_pixel_counts(tmp_path):
    truth = torch.ones(1, 4, 8, dtype=torch.long)
    truth[..., 4:] = 2
    truth[0, 0, 0] = 255
    logits = torch.zeros(3, 4, 8)
    logits[1] = 9.0
    tiles = [dict(box=(0, 0, 4, 4)), dict(box=(4, 0, 8, 4))]
    hook = CalibrationHook(tmp_path)
    hook.after_test_iter(None, 0, outputs=[predicted(logits, truth, tiles=tiles)])
    hook.after_test_epoch(None)
    content = json.loads((tmp_path / CALIBRATION_FILE).read_text())
    assert np.sum(content["pixels"]["bins"], axis=0)[0] == 31
    assert np.sum(content["cells"]["bins"], axis=0)[[0, 2]].tolist() == [2, 1]
    assert content["cells"]["error"] == pytest.approx(50, abs=0.5)


def test_what_diverged_is_left_out_of_the_calibration(tmp_path):
    hook = CalibrationHook(tmp_path)
    truth = torch.ones(1, 2, 2, dtype=torch.long)
    good = predicted(torch.randn(3, 2, 2), truth)
    bad = predicted(torch.full((3, 2, 2), float("nan")), truth)
    hook.after_test_iter(None, 0, outputs=[good, bad])
    assert len(hook.cells) == 1
    assert hook.pixels[:, 0].sum() == 4


def test_no_git_is_ordinary(monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(leuko_mm, "__file__", str(tmp_path / "leuko_mm/__init__.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    git_state.cache_clear()
    assert git_state() is None
    git_state.cache_clear()
