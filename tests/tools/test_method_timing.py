"""The timing of methods measures a network and writes what the report reads."""

from __future__ import annotations

import json

import pytest
from tool_module import load_tool

from leuko_mm.workflows.report_plots import read_timing


@pytest.fixture
def tool():
    """Return the tool as a module."""
    return load_tool("method_timing")


def test_a_small_network_is_measured(tool, tmp_path):
    out = tmp_path / "timing.json"
    words = ["--out", out, "--methods", "segnext_t", "--size", 64, "--repeats", 1]
    tool.main([str(word) for word in words])
    content = json.loads(out.read_text())
    assert content["methods"]["segnext_t"] > 0
    assert (content["size"], content["threads"]) == (64, 1)
    assert read_timing(out) == content
    assert read_timing(tmp_path / "absent.json") == {}
