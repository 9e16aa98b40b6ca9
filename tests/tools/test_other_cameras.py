"""Every camera is tested, the truth stays, and a harder one does not go unnoticed."""

from __future__ import annotations

import json

import pytest
from tiny_checkpoint import write_tiny
from tool_module import load_tool


@pytest.fixture
def tool(monkeypatch):
    """Return the tool as a module, with two cameras."""
    module = load_tool("paper/other_cameras")
    two = {"as taken": {}, "all noise": dict(noise=500.0)}
    monkeypatch.setattr(module, "CAMERAS", two)
    return module


@pytest.fixture
def words(tmp_path, tiny_config, tiny_dataset):
    """Return the command's arguments for a small network and its cells."""
    write_tiny(tmp_path / "net.pth", tiny_config)
    data = ["--data", str(tiny_dataset), "--split", "fold1"]
    return [str(tiny_config), str(tmp_path / "net.pth"), *data]


def test_figures_of_each_camera_are_shown_and_written(tool, words, tmp_path, capsys):
    assert tool.main([*words, "--json", str(tmp_path / "told.json")]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    taken, noisy = told["cameras"]["as taken"], told["cameras"]["all noise"]
    assert taken != noisy
    assert all(0 <= value <= 100 for value in taken.values())
    assert f"| as taken | {taken['mIoU']:.1f} |" in capsys.readouterr().out
    assert told["mean"]["mIoU"] == (taken["mIoU"] + noisy["mIoU"]) / 2
    assert "--split fold1" in told["command"]
    assert len(told["checkpoint"]) == 64
