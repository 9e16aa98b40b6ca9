"""The timing of methods measures a network and writes what the report reads."""

from __future__ import annotations

import importlib.util
import json

import pytest

from leuko_mm.workflows.report_plots import read_timing


@pytest.fixture
def tool(project_root):
    """Return the tool as a module."""
    place = project_root / "tools" / "method_timing.py"
    spec = importlib.util.spec_from_file_location("method_timing", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_network_is_measured(tool, tmp_path):
    out = tmp_path / "timing.json"
    words = ["--out", out, "--methods", "segnext_t", "--size", 64, "--repeats", 1]
    tool.main([str(word) for word in words])
    content = json.loads(out.read_text())
    assert content["methods"]["segnext_t"] > 0
    assert (content["size"], content["threads"]) == (64, 1)
    assert read_timing(out) == content
    assert read_timing(tmp_path / "absent.json") == {}
