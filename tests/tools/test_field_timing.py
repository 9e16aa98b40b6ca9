"""The timing of fields measures from file to count and writes what it measured."""

from __future__ import annotations

import json

import pytest
from tiny_checkpoint import write_tiny
from tool_module import load_tool

from leuko_mm.datasets.converters.synthetic import prepare_synthetic


@pytest.fixture
def tool():
    """Return the tool as a module."""
    return load_tool("field_timing")


def test_fields_are_timed_and_told(tool, tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    monkeypatch.setattr(tool, "FIELD", (96, 64))
    monkeypatch.setattr(tool, "SEVERAL", 128**2 - 1)
    prepare_synthetic(tmp_path / "synthetic", slides=2, cells_per_class=1, size=32)
    write_tiny(tmp_path / "net.pth", tiny_config)
    out = tmp_path / "timing.json"
    words = [tmp_path / "net.pth", "--sides", 128, "--repeats", 2, "--json", out]
    assert tool.main([str(word) for word in words]) == 0
    told = json.loads(out.read_text())
    first, second = told["rows"]
    assert (first["width"], first["height"], first["repeats"]) == (96, 64, 2)
    assert (second["width"], second["height"], second["repeats"]) == (128, 128, 1)
    expected = 1e6 * second["seconds"] / 128**2
    assert second["us_per_px"] == pytest.approx(expected, abs=0.04)
    assert told["command"].startswith("python tools/field_timing.py")
    assert "| 128 x 128 |" in capsys.readouterr().out


def test_a_missing_checkpoint_is_one_message(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    (tmp_path / "synthetic").mkdir()
    assert tool.main([str(tmp_path / "no.pth")]) == 2
    assert "no.pth" in capsys.readouterr().err
