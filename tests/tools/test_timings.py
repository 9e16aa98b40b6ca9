"""The timings measure the enhancement, whole fields and methods, and write a file."""

from __future__ import annotations

import json
import sys

import pytest
from tiny_checkpoint import write_tiny
from tool_module import load_tool

from leuko_mm.comparison.report_plots import read_timing
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic


@pytest.fixture
def tool():
    return load_tool("paper/timings")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_every_form_of_the_enhancement_is_timed(tool, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tool, "SECONDS_A_METHOD", 0.01)
    monkeypatch.setattr(tool, "SIZES", {"256": (40, 48)})
    out = tmp_path / "retinex.json"
    assert tool.main(["retinex", "--sizes", "256", "--json", str(out)]) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text())["rows"]}
    assert len(rows) == 3 * 3 + 1
    for name, row in rows.items():
        assert 0 < row["ms"] <= row["median_ms"]
        # The file rounds milliseconds to three digits.
        assert row["ns_per_pixel"] == pytest.approx(
            row["median_ms"] * 1e6 / (40 * 48), abs=0.0006e6 / (40 * 48)
        )
        if name.startswith("ahe_retinex"):
            assert row["deviation_max"] <= 2
            textbook = rows[name.replace("ahe_retinex", "textbook")]
            ratio = textbook["median_ms"] / row["median_ms"]
            assert row["times_faster"] == pytest.approx(ratio, rel=0.05, abs=0.1)
    assert "| ahe_retinex hsv | 48 x 40 |" in capsys.readouterr().out


def test_fields_are_timed(tool, tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    monkeypatch.setattr(tool, "FIELD", (96, 64))
    monkeypatch.setattr(tool, "MOST_PIXELS_REPEATED", 128**2 - 1)
    prepare_synthetic(tmp_path / "synthetic", slides=2, cells_per_class=1, size=32)
    write_tiny(tmp_path / "net.pth", tiny_config)
    out = tmp_path / "timing.json"
    words = [tmp_path / "net.pth", "--sides", 128, "--repeats", 2, "--json", out]
    assert tool.main(["fields", *map(str, words)]) == 0
    content = json.loads(out.read_text())
    first, second = content["rows"]
    assert (first["width"], first["height"], first["repeats"]) == (96, 64, 2)
    assert (second["width"], second["height"], second["repeats"]) == (128, 128, 1)
    expected = 1e6 * second["seconds"] / 128**2
    assert second["us_per_px"] == pytest.approx(expected, abs=0.04)
    assert content["command"].startswith("python tools/paper/timings.py fields ")
    assert "| 128 x 128 |" in capsys.readouterr().out


def test_the_report_reads_the_timing_of_methods(tool, tmp_path):
    out = tmp_path / "timing.json"
    words = ["--methods", "segnext_t", "--size", 64, "--repeats", 1, "--json", out]
    assert tool.main(["methods", *map(str, words)]) == 0
    content = json.loads(out.read_text())
    assert content["methods"]["segnext_t"] > 0
    assert (content["size"], content["threads"]) == (64, 1)
    assert read_timing(out) == content
