"""The lines with which a run begins."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from leuko_mm.workflows.opening import announce_test, announce_training
from leuko_mm.workflows.resolve_config import resolve_config


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Return a runner and what was said through its logger."""
    monkeypatch.chdir(tmp_path)
    lines = []
    log_file = str(tmp_path / "work_dirs" / "tiny" / "now.log")
    logger = SimpleNamespace(info=lines.append, log_file=log_file)
    return SimpleNamespace(logger=logger, model=nn.Linear(1, 1)), lines


def test_a_training_says_what_is_trained_on_what(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config), seed=3)
    config.optim_wrapper.enabled = True
    announce_training(runner, config)
    (text,) = lines
    assert "training tiny under the protocol smoke, seed 3" in text
    assert "synthetic, split fold5: 20 cells to learn from, 5 to test on" in text
    assert "2 iterations of 2 images of 64 x 64 pixels on cpu with" in text
    assert ", bfloat16" in text
    assert f"log       {Path('work_dirs/tiny/now.log')}" in text
    assert "goes on" not in text
    assert len(text.splitlines()) <= 5


def test_a_resumed_training_says_from_where(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config))
    config.resume, config.load_from = True, "work_dirs/tiny/iter_40.pth"
    announce_training(runner, config)
    assert "goes on from work_dirs/tiny/iter_40.pth" in lines[0]


def test_a_test_says_which_checkpoint(said, tiny_data, tiny_config):
    runner, lines = said
    config = resolve_config(str(tiny_config), split="all")
    announce_test(runner, config, Path("net.pth"))
    assert "testing net.pth as tiny under the protocol smoke" in lines[0]
    assert "synthetic, every cell: 25 cells on cpu" in lines[0]
    assert "bfloat16" not in lines[0]
