"""What a results file says about code, machine, libraries and model.

What a user is told to type can be typed.
"""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
import torch
from mmengine.config import Config
from torch import nn

import leuko_mm
from leuko_mm.training import results as run_facts
from leuko_mm.training.results import (
    as_typed,
    cpu_name,
    environment,
    git_at_start,
    git_state,
    model_facts,
    resuming,
)

CONFIG = Config(
    dict(
        model=dict(backbone=dict(init_cfg=dict(type="X", checkpoint="vgg16"))),
        test_dataloader=dict(dataset=dict(size=8)),
    )
)


def test_the_environment_names_every_library():
    facts = environment()
    assert facts["torch"] == torch.__version__
    assert facts["leuko_mm"] == leuko_mm.__version__
    assert all(facts[key] for key in facts if key != "gpu")


def test_the_processor_is_named_with_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cpu_name().endswith(", 7 cores")


def test_a_model_is_counted_on_the_image_it_is_tested_on():
    model = nn.Conv2d(3, 4, 1, bias=False).train()
    facts = model_facts(model, CONFIG)
    # 12 weights; 12 multiply-adds at each of 64 pixels.
    assert facts["params_m"] == round(12e-6, 3)
    assert facts["gmacs"] == round(12 * 64e-9, 3)
    assert facts["input_size"] == 8
    assert facts["pretrained"] == "vgg16"
    assert model.training


def test_how_an_answer_is_read_is_told():
    model = nn.Conv2d(3, 4, 1)
    assert model_facts(model, CONFIG)["reading"] == {}
    model.least_area, model.views = None, 1
    assert model_facts(model, CONFIG)["reading"] == {}
    model.least_area, model.views = 250, 8
    assert model_facts(model, CONFIG)["reading"] == dict(least_area=250, views=8)


def test_multiply_adds_are_not_doubled():
    facts = model_facts(nn.Conv2d(3, 1000, 1, bias=False), CONFIG)
    assert facts["params_m"] == 0.003
    larger = Config(dict(model=dict(), test_dataloader=dict(dataset=dict(size=100))))
    facts = model_facts(nn.Conv2d(3, 1000, 1, bias=False), larger)
    assert facts["gmacs"] == 0.03
    assert facts["pretrained"] is None


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a repository with one commit, taken for the one of the package."""

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *identity, *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    package = tmp_path / "leuko_mm"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(run_facts.leuko_mm, "__file__", str(package / "__init__.py"))
    return tmp_path


def test_the_commit_is_named_and_whether_it_was_changed(repository):
    clean = git_state()
    assert len(clean) == 12
    (repository / "leuko_mm" / "__init__.py").write_text("x = 1\n")
    assert git_state() == f"{clean}-dirty"


def test_what_is_committed_meanwhile_is_not_the_code_that_runs(repository):
    git_at_start.cache_clear()
    began = git_at_start()
    (repository / "leuko_mm" / "__init__.py").write_text("x = 1\n")
    assert git_at_start() == began
    git_at_start.cache_clear()


def test_an_installed_package_has_no_commit(repository):
    (repository / ".git").rename(repository / "was.git")
    assert git_state() is None


def test_a_network_is_counted_once_whatever_its_loss(monkeypatch):
    from leuko_mm.training import results as run_facts

    counted = []
    monkeypatch.setattr(run_facts, "_counted", {})
    monkeypatch.setattr(
        run_facts, "multiply_adds", lambda *args: counted.append(args) or 1.0
    )
    model = nn.Conv2d(3, 7, 1)
    for loss, wide in (("A", 1), ("B", 1), ("B", 2)):
        config = CONFIG.copy()
        config.model = dict(decode_head=dict(loss_decode=[loss], wide=wide))
        assert model_facts(model, config)["gmacs"] == 1.0
    assert len(counted) == 2


def test_a_command_line_is_quoted_for_a_shell():
    words = ["leuko train", "my unet.py", "--cfg-options", "a.b=[1, 2]", "c='x'"]
    typed = as_typed(words)
    assert shlex.split(typed) == ["leuko", "train", *words[1:]]


def test_a_script_is_run_by_python():
    assert as_typed(["tools/train.py", "unet"]) == "python tools/train.py unet"
    assert as_typed([]) == ""


@pytest.mark.parametrize("entrance", ["--force", "--resume", "--forc", "--res"])
def test_going_on_resumes_once_and_forces_nothing(entrance):
    said = resuming(["leuko train", "unet", entrance, "--data", "my cells"])
    assert said == "go on with:\n    leuko train unet --data 'my cells' --resume"


def test_options_that_only_look_alike_are_kept():
    said = resuming(["leuko train", "unet", "--no-amp", "--cfg-options", "a=--"])
    assert "--no-amp --cfg-options a=-- --resume" in said


def test_where_a_launcher_began_it_its_own_command_is_the_user_s():
    said = resuming(["leuko train", "unet", "--launcher", "slurm"], launcher="slurm")
    assert "starting, as before," in said
    assert said.endswith("leuko train unet --launcher slurm --resume")


def test_from_python_it_is_a_field_of_the_request():
    assert resuming([]) == "go on with resume=True"
